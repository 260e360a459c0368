"""Parts of failed batches that wait to run again: in halves, until each failing request is alone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from covey_server.batching.batch import Batch, Part
from covey_server.batching.request import Request, raise_if_expired_or_cancelled
from covey_server.errors import Cancelled, EngineFailed, Expired, RequestError

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel


class Search:
    """A search for the requests that made a batch fail: its halves run again, then theirs, until each request is
    alone."""

    __slots__ = ("failed_alone", "failures", "given_up", "is_sound")

    def __init__(self) -> None:
        self.failures = 0  # failed runs since the last good one
        self.is_sound = False  # the engine ran something since the batch failed
        self.failed_alone: list[str] = []  # callers whose requests failed alone before that was known
        self.given_up = ""  # the error for all that is left; "": the search goes on


class Rerun:
    """Parts of a failed batch that wait to run again."""

    __slots__ = ("of_one_caller", "parts", "passed", "search", "size")

    def __init__(self, parts: list[Part], search: Search) -> None:
        self.parts = parts
        self.search = search
        self.size = sum(part.stop - part.start for part in parts)
        self.of_one_caller = all(part.request.caller == parts[0].request.caller for part in parts)
        self.passed = False  # whether other requests had a turn since it waits

    def form(self, model: ServedModel, now_ns: int, dropped: list[tuple[Request, RequestError]]) -> Batch:
        """The batch of its requests. Those that are cancelled, expired or given up go to `dropped`."""
        parts: list[Part] = []
        for part in self.parts:
            request = part.request
            if not part.whole and request.abandoned:
                continue
            try:
                raise_if_expired_or_cancelled(request.cancelled, request.arrived_ns, request.deadline_ns, now_ns)
                if self.search.given_up:
                    raise EngineFailed(self.search.given_up)
            except (Cancelled, Expired, EngineFailed) as error:
                if part.whole or request.abandon():
                    dropped.append((request, error))
                continue
            parts.append(part)
        return Batch(model, parts, sum(part.stop - part.start for part in parts), now_ns, "rerun", self.search)


class Reruns:
    """What waits to run again of one model; its owner is the model's queue. Parts of several callers go first, as most
    of those did nothing wrong; parts of one caller take turns with the queue."""

    __slots__ = ("_alone", "_mixed")

    def __init__(self) -> None:
        self._mixed: deque[Rerun] = deque()  # of several callers
        self._alone: deque[Rerun] = deque()  # of one caller each

    def __len__(self) -> int:
        return len(self._mixed) + len(self._alone)

    @property
    def images(self) -> int:
        """How many images wait."""
        return sum(rerun.size for waiting in (self._mixed, self._alone) for rerun in waiting)

    def append(self, rerun: Rerun) -> None:
        """Adds parts of a failed batch."""
        (self._alone if rerun.of_one_caller else self._mixed).append(rerun)

    def take(self, *, others_wait: bool) -> Rerun | None:
        """The next one; None if it is the turn of other requests, if any wait. There must be one."""
        if self._mixed:
            return self._mixed.popleft()
        if others_wait and not self._alone[0].passed:
            self._alone[0].passed = True
            return None
        return self._alone.popleft()


def halves(batch: Batch, search: Search) -> list[Rerun]:
    """A batch in two halves, to run again. Requests of one caller stay together as far as possible."""
    parts = sorted(batch.parts, key=lambda part: part.request.caller)
    middle = len(parts) // 2
    return [Rerun(parts[:middle], search), Rerun(parts[middle:], search)]
