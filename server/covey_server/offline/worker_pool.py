"""The workers, which are processes of one thread each or threads of this process; chunks go to them and come back in
order.

Python runs on one core at a time in a process, and small images cost more Python than computing. So on CPUs each worker
is a process, where there is memory for as many models. On CUDA all threads share one model.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

from covey_server.errors import EngineFailed
from covey_server.offline.answers import Answers, ClassifyOptions, Facts
from covey_server.offline.errors import Stopped
from covey_server.offline.sources.source import Missing
from covey_server.offline.worker import Settings, Worker
from covey_server.system import memory
from covey_server.system.memory_limit import room

Kind = Literal["auto", "processes", "threads"]
Image: TypeAlias = bytes | str | Missing
T = TypeVar("T")

CHUNKS_PER_WORKER = 3  # on their way: at work, waiting for it, and waiting for those before them
_PROCESS_BYTES = 150 << 20  # of a worker process beside its model (measured: 110 to 130 MB)
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive images of the source."""

    keys: list[str]
    images: list[Image]


class WorkerPool:
    """Workers that begin to load the model at once. To be closed."""

    def __init__(self, settings: Settings, workers: int, kind: Kind, watch: Callable[[], None]) -> None:
        """`watch` is called now and then while a caller waits; an exception that it raises ends the waiting. Raises
        RuntimeError where no more threads can be started."""
        self.workers = workers
        self.uses_processes = kind == "processes" or (kind == "auto" and _prefer_processes(settings, workers))
        self._watch = watch
        self._pool: Executor
        if self.uses_processes:
            context = multiprocessing.get_context("spawn")
            self._stopping: threading.Event = context.Event()  # type: ignore[assignment]  # it has the same methods
            worker_settings = replace(settings, threads=1, decode_bytes=settings.decode_bytes // workers)
            self._pool = ProcessPoolExecutor(workers, context, _start_worker, (worker_settings, self._stopping))
            self._facts, self._load, self._classify = _facts, _load, _classify
        else:
            self._stopping = threading.Event()
            worker = Worker(replace(settings, threads=workers), self._stopping.is_set)
            self._pool = ThreadPoolExecutor(workers, "batch")
            self._facts, self._load, self._classify = worker.facts, worker.load, worker.classify
        with _without_interrupts():  # which the processes inherit: this one decides what Ctrl-C means
            self._facts_future = self._pool.submit(self._facts)
            self._load_futures = [self._pool.submit(self._load) for _ in range(workers - 1)]

    def facts(self) -> Facts:
        """Waits until the model is loaded. Raises RefusedModel, EngineFailed, DeviceUnavailable, Stopped."""
        try:
            facts = self._result(self._facts_future)
            for load in self._load_futures:
                self._result(load)
        except (BrokenProcessPool, MemoryError) as error:
            raise _worker_lost(" as it loaded the model") from error
        return facts

    def answers(
        self, chunks: Iterable[Chunk], options: ClassifyOptions, batch_size: int
    ) -> Iterator[tuple[list[str], Answers]]:
        """The chunks' keys with their answers, in order. At most `CHUNKS_PER_WORKER` chunks for each worker are read
        ahead of the answers. Raises Stopped, and what the source raises."""
        pending: deque[tuple[list[str], Future[Answers]]] = deque()
        remaining = iter(chunks)
        last_key = "the beginning"
        while True:
            try:
                while len(pending) < CHUNKS_PER_WORKER * self.workers and (chunk := next(remaining, None)) is not None:
                    pending.append((chunk.keys, self._pool.submit(self._classify, chunk.images, options, batch_size)))
                if not pending:
                    return
                keys, future = pending.popleft()
                answers = self._result(future)
            except EngineFailed as error:
                raise Stopped(f"{error}; the model does not run on this device any more") from error
            except (BrokenProcessPool, MemoryError) as error:
                raise _worker_lost(f" at one of the images behind {last_key}") from error
            last_key = keys[-1]
            yield keys, answers

    def close(self) -> None:
        """Ends the workers, each after its current batch."""
        self._stopping.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _result(self, future: Future[T]) -> T:
        while not future.done():
            self._watch()
            wait([future], _POLL_S)
        return future.result()


def _worker_lost(when: str) -> Stopped:
    return Stopped(
        f"a worker ran out of memory or was ended by the system{when}. Free some memory, or take fewer workers "
        f"(--workers 1)"
    )


def _prefer_processes(settings: Settings, workers: int) -> bool:
    if workers == 1 or settings.device.is_cuda:
        return False
    available = room()
    needed = workers * (_PROCESS_BYTES + 2 * settings.model.stat().st_size)
    return available is None or needed <= available.free_bytes // 2


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Blocks SIGINT for this thread, and so for the processes that it starts meanwhile, which keep it blocked."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


# In a worker process

_worker: Worker | None = None


def _start_worker(settings: Settings, stopping: threading.Event) -> None:
    global _worker
    memory.bound_freed_memory()
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _worker = Worker(settings, stopping.is_set)


def _end_with_parent() -> None:
    """Ends this process when its parent ends, even if that is killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _facts() -> Facts:
    assert _worker is not None
    return _worker.facts()


def _load() -> None:
    assert _worker is not None
    _worker.load()


def _classify(images: Sequence[Image], options: ClassifyOptions, batch_size: int) -> Answers:
    assert _worker is not None
    return _worker.classify(images, options, batch_size)
