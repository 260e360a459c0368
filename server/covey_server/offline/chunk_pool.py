"""Chunks on their way to workers and back in order, whatever the workers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from covey_server.errors import EngineFailed
from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.chunks import Chunk, Image
from covey_server.offline.errors import Stopped

CHUNKS_PER_WORKER = 3  # on their way: at work, waiting for it, and waiting for those before them


class LostWorker(Exception):
    """A worker ended before it had answered."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def stopped(self, when: str) -> Stopped:
        """The error for the user, who is told when it happened."""
        return Stopped(f"{self.what}{when}. {self.advice}")


class ChunkPool(ABC):
    """Workers that begin to load the model at once. To be closed."""

    reads_files: bool  # its workers read the files that are given by path; otherwise only bytes may be given

    @property
    @abstractmethod
    def description(self) -> str:
        """What the workers are and how many, for the summary."""

    def facts(self) -> Facts:
        """Waits until the model is loaded. Raises RefusedModel, EngineFailed, DeviceUnavailable, Stopped."""
        try:
            return self._load()
        except LostWorker as error:
            raise error.stopped(" as it loaded the model") from error
        except MemoryError as error:
            raise _out_of_memory(" as the model was loaded") from error

    def answers(
        self, chunks: Iterable[Chunk], options: ClassifyOptions, batch_size: int
    ) -> Iterator[tuple[list[str], Answers]]:
        """The chunks' keys with their answers, in order. At most `_limit` chunks are read ahead of the answers. Raises
        Stopped, and what the source raises."""
        pending: deque[tuple[list[str], Callable[[], Answers]]] = deque()
        remaining = iter(chunks)
        last_key = "the beginning"
        while True:
            try:
                while len(pending) < self._limit() and (chunk := next(remaining, None)) is not None:
                    pending.append((chunk.keys, self._submit(chunk.images, options, batch_size)))
                if not pending:
                    return
                keys, wait = pending.popleft()
                answers = wait()
            except EngineFailed as error:
                raise Stopped(f"{error}; the model does not run on this device any more") from error
            except LostWorker as error:
                raise error.stopped(f" at one of the images behind {last_key}") from error
            except MemoryError as error:
                raise _out_of_memory(f" at one of the images behind {last_key}") from error
            last_key = keys[-1]
            yield keys, answers

    @abstractmethod
    def close(self) -> None:
        """Ends the workers, each after its current batch at the latest."""

    @abstractmethod
    def _load(self) -> Facts:
        """Waits until the model is loaded. Raises LostWorker, and as `facts`."""

    @abstractmethod
    def _limit(self) -> int:
        """How many chunks may be on their way now, at least 1."""

    @abstractmethod
    def _submit(self, images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Callable[[], Answers]:
        """Gives a chunk to a worker; the function that comes back waits for its answers. Both raise LostWorker, the
        function also EngineFailed."""


def _out_of_memory(when: str) -> Stopped:
    return Stopped(f"memory ran out{when}. Free some memory, or take fewer workers (--workers 1)")
