"""What waits for one model, in which order, and how its next batch is cut.

Order is that of arrival. A request that would miss its deadline at the end of the queue goes before those that
have more time than it, and only then.
"""

from __future__ import annotations

from collections import deque

from covey_server.batching.batch import Batch, Part, Reason
from covey_server.batching.request import Request, Runnable, refuse_obsolete
from covey_server.errors import Cancelled, Expired, RequestError

_OVERTAKEN_NS = 500_000_000  # nobody who has waited for so long is overtaken: no deadline is far enough to starve
_INEFFICIENT = 1.5  # more per image than this, against the best batch, is too much for one deadline while many wait


class ModelQueue:
    """The requests of one model. Locked by its owner, the batcher."""

    __slots__ = ("images", "model", "requests", "waiting_since_ns")

    def __init__(self, model: Runnable) -> None:
        self.model = model
        self.requests: deque[Request] = deque()
        self.images = 0  # that have not left yet, those of callers who went away included
        self.waiting_since_ns = 0  # since when the model has waited for a batch

    def append(self, request: Request) -> None:
        """Adds a request at the end."""
        if not self.requests:
            self.waiting_since_ns = request.queued_ns
        self.requests.append(request)
        self.images += request.count

    def place_by_deadline(self, deadline_ns: int, now_ns: int) -> tuple[int, int]:
        """Where a request with that deadline may go at the earliest, and how many images wait before that place."""
        place, ahead = len(self.requests), self.images
        for other in reversed(self.requests):
            if (
                (other.deadline_ns is not None and other.deadline_ns <= deadline_ns)
                or other.taken
                or now_ns - other.queued_ns > _OVERTAKEN_NS
            ):
                break
            place -= 1
            ahead -= other.count
        return place, ahead

    def insert(self, place: int, request: Request) -> None:
        """Adds a request before others."""
        self.requests.insert(place, request)
        self.images += request.count

    def form(self, now_ns: int, reason: Reason, dropped: list[tuple[Request, RequestError]]) -> Batch:
        """Takes the next batch off the queue: as many images as wait, at most the model's best batch size, and
        fewer where the first request would miss its deadline otherwise.

        Requests whose caller went away, whose deadline passed, or that cannot be computed in time any more go to
        `dropped` and cost no place. The batch is empty where nothing else waited.
        """
        queue, best = self.requests, self.model.cost.best_batch_size
        room = 0
        parts: list[Part] = []
        while queue:
            request = queue[0]
            try:
                refuse_obsolete(request.cancelled, request.arrived_ns, request.deadline_ns, now_ns)
                if not parts:
                    room = self._size(request, now_ns)
                    if room < min(best, self.images):
                        reason = "deadline"
            except (Cancelled, Expired) as error:
                self._leave(request)
                if request.taken == 0 or request.abandon():
                    dropped.append((request, error))
                continue
            if request.taken == 0:
                request.started_ns = now_ns
                if request.count > room:
                    request.split()
            elif request.abandoned:  # an earlier part failed: the rest is of no use
                self._leave(request)
                continue
            count = min(room, request.count - request.taken)
            parts.append(Part(request, request.taken, request.taken + count))
            request.taken += count
            self.images -= count
            room -= count
            if request.taken == request.count:
                queue.popleft()
            if not room:
                break
        size = sum(part.stop - part.start for part in parts)
        if queue:
            self.waiting_since_ns = max(now_ns, queue[0].queued_ns)
        return Batch(self.model, parts, size, now_ns, "full" if size == best else reason)

    def _leave(self, request: Request) -> None:
        self.requests.popleft()
        self.images -= request.count - request.taken

    def _size(self, first: Request, now_ns: int) -> int:
        """How many images the next batch takes. Raises Expired where the first request cannot be helped."""
        cost = self.model.cost
        size = min(self.images, cost.best_batch_size)
        if first.deadline_ns is None:
            return size
        left_ns = first.deadline_ns - now_ns
        if cost.predict(size) <= left_ns:
            return size
        needed = min(first.count - first.taken, size)
        smaller = cost.largest_within(left_ns, size)
        # While more waits than a batch, small batches for the sake of the first would make all others late. Else it
        # is tried as long as it ever was possible: predictions after a bad moment are not the last word.
        crowded = self.images > cost.best_batch_size
        too_small = smaller < needed or cost.predict(smaller) > _INEFFICIENT * smaller * cost.image_ns
        if (crowded and too_small) or cost.measured_ns(needed) > left_ns:
            raise Expired(
                f"the deadline is {left_ns / 1e6:.1f} ms away after {(now_ns - first.arrived_ns) / 1e6:.1f} ms of "
                f"waiting, and computing takes about {max(cost.predict(needed), cost.measured_ns(needed)) / 1e6:.1f} ms"
            )
        return max(smaller, needed)
