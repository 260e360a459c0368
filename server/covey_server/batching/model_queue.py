"""The queue of one model: the order of its requests, and how the next batch is cut from it.

Callers take turns by images (start-time fair queueing: Goyal, Vin, Cheng 1996). Each request has a turn, a number; the
lowest is next. A caller's next request gets the turn of its last one plus that one's images; a caller who had nothing
waiting gets the turn just before the one that runs now. So a caller with much waiting comes later and later, and one
with little is next. A request of more images than a batch holds gets a new turn with each batch.

One caller's requests keep their order. A request that would miss its deadline in its turn goes before those that have
more time, and only then.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from covey_server.batching.batch import Batch, DispatchReason, Part
from covey_server.batching.request import Group, Request, raise_if_expired_or_cancelled
from covey_server.batching.reruns import Rerun, Reruns
from covey_server.batching.suspects import Suspects
from covey_server.errors import Cancelled, Expired, RequestError

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

_OVERTAKEN_NS = (
    500_000_000  # who has waited for so long is not overtaken any more: nobody starves, however late its deadline
)
_INEFFICIENT = 1.5  # times an image's cost in the best batch: more is too much for one deadline while many wait
_MIN_REMEMBERED = 64  # callers, before those without a turn to come are dropped

_turn = attrgetter("turn")


class ModelQueue:
    """The requests of one model. Its owner, the batcher, holds the lock."""

    __slots__ = (
        "_clock",
        "_groups",
        "_max_turns",
        "_next_turns",
        "_suspects",
        "images",
        "model",
        "requests",
        "reruns",
        "waiting_since_ns",
    )

    def __init__(self, model: ServedModel, suspects: Suspects) -> None:
        self.model = model
        self.requests: list[Request] = []  # by turn
        self.images = 0  # waiting, those of callers who have gone included
        self.waiting_since_ns = 0  # since when the model has waited for a batch
        self._suspects = suspects
        self._groups = 0  # of the requests; only while all that waits fits into one batch
        self._clock = 1  # the latest turn that has begun
        self._next_turns: dict[str, int] = {}  # by caller, of those whose turn has not come
        self._max_turns = _MIN_REMEMBERED  # remembered before those whose turn has come are dropped
        self.reruns = Reruns()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.requests or self.reruns)

    def append(self, request: Request) -> None:
        """Adds a request in its caller's turn."""
        requests = self.requests
        if not requests:
            self.waiting_since_ns = request.queued_ns
        self.images += request.count
        # All of it leaves with the next batch: no order is needed.
        if self.images <= self.model.cost.best_batch_size and (not requests or requests[-1].turn < self._clock):
            request.turn = self._clock - 1
            requests.append(request)
            return
        if self._groups:
            self.expand()
            requests = self.requests
        turn = request.turn = self._take_turn(request)
        if not requests or requests[-1].turn <= turn:
            requests.append(request)
        else:
            requests.insert(bisect_right(requests, turn, key=_turn), request)

    def append_group(self, group: Group) -> bool:
        """Adds a group, if all that waits then leaves with the next batch; else returns False."""
        requests = self.requests
        if (
            self.images + group.count > self.model.cost.best_batch_size
            or self._suspects
            or self.reruns
            or (requests and requests[-1].turn >= self._clock)
        ):
            return False
        if not requests:
            self.waiting_since_ns = group.queued_ns
        self.images += group.count
        self._groups += 1
        group.turn = self._clock - 1
        requests.append(group)
        return True

    def expand(self) -> None:
        """Makes the requests of groups, since it begins to matter which of them is first."""
        if self._groups:
            self.requests = [
                each
                for request in self.requests
                for each in (request.expand() if isinstance(request, Group) else (request,))
            ]
            self._groups = 0

    def images_before(self, request: Request) -> int:
        """How many images would leave before this request's last one if it were appended now."""
        best = self.model.cost.best_batch_size
        last_turn = self._next_turn(request.caller) + (request.count - 1) // best * best
        ahead = self.reruns.images
        # Nearly always only single images wait: then bisect. Walking the queue for each refused request cost more than
        # half of the answers at three times the capacity (2 shared AMD EPYC cores, 2026-11-29).
        if len(self.requests) + ahead == self.images:
            return ahead + bisect_right(self.requests, last_turn, key=_turn)
        for other in self.requests:
            if other.turn > last_turn:
                break
            ahead += min(other.count - other.taken, ((last_turn - other.turn) // best + 1) * best)
        return ahead

    def place_by_deadline(self, request: Request, deadline_ns: int, now_ns: int) -> tuple[int, int]:
        """The earliest place that a request with that deadline may take, and how many images wait before it. It passes
        other callers' requests only if its own turn is no more than a batch away."""
        place, ahead = len(self.requests), self.images
        best = self.model.cost.best_batch_size
        may_pass = request.count <= best and self._next_turn(request.caller) <= self._clock + best
        for other in reversed(self.requests):
            if (
                (other.deadline_ns is not None and other.deadline_ns <= deadline_ns)
                or now_ns - other.queued_ns > _OVERTAKEN_NS
                or (other.taken if other.caller == request.caller else not may_pass)
            ):
                break
            place -= 1
            ahead -= other.count - other.taken
        return place, ahead

    def insert(self, place: int, request: Request) -> None:
        """Adds a request at a place before others."""
        self._take_turn(request)
        request.turn = self.requests[place].turn
        self.requests.insert(place, request)
        self.images += request.count

    def run_again(self, reruns: list[Rerun], now_ns: int) -> None:
        """Adds parts of a failed batch."""
        if self.empty:
            self.waiting_since_ns = now_ns
        for rerun in reruns:
            self.reruns.append(rerun)
            self.images += rerun.size

    def form(self, now_ns: int, reason: DispatchReason, dropped: list[tuple[Request, RequestError]]) -> Batch:
        """Takes the next batch off the queue: all images that wait, at most the model's best batch size, and fewer if
        the first request would miss its deadline otherwise.

        Requests that are cancelled, expired or cannot be computed in time any more go to `dropped` and take no place.
        The batch is empty if nothing else waited.

        Parts that run again go first, or take turns with the queue, as Reruns says.
        """
        if self._groups and not self._may_leave_whole(now_ns):
            self.expand()
        batch = self._form_again(now_ns, dropped) if self.reruns else None
        if batch is None:
            batch = self._form(now_ns, reason, dropped)
        if self.reruns:
            self.waiting_since_ns = now_ns
        elif self.requests:
            self.waiting_since_ns = max(now_ns, self.requests[0].queued_ns)
        return batch

    def _form(self, now_ns: int, reason: DispatchReason, dropped: list[tuple[Request, RequestError]]) -> Batch:
        requests, suspects, best = self.requests, self._suspects, self.model.cost.best_batch_size
        if suspects:
            suspects.forget()
        room = place = 0
        parts: list[Part] = []
        passed: list[Request] = []
        useless: list[Request] = []
        for place, request in enumerate(requests, 1):  # noqa: B007 - used behind the loop
            if suspects and parts and not self._may_share(request, parts[0].request):
                passed.append(request)
                continue
            try:
                raise_if_expired_or_cancelled(request.cancelled, request.arrived_ns, request.deadline_ns, now_ns)
                if not parts:
                    room = self._size(request, now_ns)
                    if room < min(best, self.images):
                        reason = "deadline"
            except (Cancelled, Expired) as error:
                useless.append(request)
                if request.taken == 0 or request.abandon():
                    dropped.append((request, error))
                continue
            if request.taken == 0:
                request.started_ns = now_ns
                if request.count > room:
                    request.split()
            elif request.abandoned:  # an earlier part failed: the rest is not needed
                useless.append(request)
                continue
            count = min(room, request.count - request.taken)
            parts.append(Part(request, request.taken, request.taken + count))
            request.taken += count
            self.images -= count
            room -= count
            if request.turn > self._clock:
                self._clock = request.turn
            if not room:
                break
        requests[:place] = passed
        self._groups = 0  # they have left, with all others
        size = 0
        for part in parts:
            size += part.stop - part.start
        if parts and (last := parts[-1].request).taken < last.count:
            last.turn += parts[-1].stop - parts[-1].start
            requests.insert(bisect_right(requests, last.turn, key=_turn), last)
        for request in useless:
            self._drop(request)
        return Batch(self.model, parts, size, now_ns, "full" if size == best else reason)

    def _form_again(self, now_ns: int, dropped: list[tuple[Request, RequestError]]) -> Batch | None:
        """The next parts to run again; None if it is the queue's turn."""
        rerun = self.reruns.take(others_wait=bool(self.requests))
        if rerun is None:
            return None
        self.images -= rerun.size
        return rerun.form(self.model, now_ns, dropped)

    def _take_turn(self, request: Request) -> int:
        """The turn of a caller's next request; the one after it comes later by this one's images."""
        caller, count, turns = request.caller, request.count, self._next_turns
        turn, earliest = turns.get(caller, 0), self._clock - 1
        if turn < earliest:
            turn = earliest
        if self._suspects and caller in self._suspects:
            count = max(count, self.model.cost.best_batch_size)  # it runs apart, which costs others a batch
        if len(turns) >= self._max_turns:
            for other in [other for other, next_turn in turns.items() if next_turn < self._clock]:
                del turns[other]
            self._max_turns = max(_MIN_REMEMBERED, 2 * len(turns))
        turns[caller] = turn + count
        return turn

    def _next_turn(self, caller: str) -> int:
        return max(self._clock - 1, self._next_turns.get(caller, 0))

    def _drop(self, request: Request) -> None:
        """Counts out a request that will not run. If it is large, its caller's later requests move forward by its
        images."""
        caller, left = request.caller, request.count - request.taken
        self.images -= left
        if left <= self.model.cost.best_batch_size or caller not in self._next_turns:
            return
        self._next_turns[caller] -= left
        for other in self.requests:
            if other.caller == caller and other.turn > request.turn:
                other.turn = max(request.turn, other.turn - left)
        self.requests.sort(key=_turn)

    def _may_leave_whole(self, now_ns: int) -> bool:
        """Whether all that waits can be the next batch: then groups need not be expanded."""
        cost = self.model.cost
        if self._suspects or self.reruns or self.images > cost.best_batch_size:
            return False
        for request in self.requests:
            deadline_ns = request.deadline_ns
            if request.cancelled or (deadline_ns is not None and deadline_ns - now_ns < cost.predict(self.images)):
                return False
        return True

    def _may_share(self, request: Request, first: Request) -> bool:
        """Whether two requests may run in one batch: not if one of their callers is a suspect, unless it is the same
        one."""
        suspects = self._suspects
        return request.caller == first.caller or not (request.caller in suspects or first.caller in suspects)

    def _size(self, first: Request, now_ns: int) -> int:
        """How many images the next batch takes. Raises Expired if the first request cannot be computed in time."""
        cost = self.model.cost
        size = min(self.images, cost.best_batch_size)
        if first.deadline_ns is None:
            return size
        left_ns = first.deadline_ns - now_ns
        if cost.predict(size) <= left_ns:
            return size
        needed = min(first.count - first.taken, size)
        smaller = cost.largest_within(left_ns, size)
        # While more than a batch waits, small batches for the first request would make all others late. Otherwise it is
        # tried if it was possible at load: predictions may be wrong after a bad moment.
        crowded = self.images > cost.best_batch_size
        too_small = smaller < needed or cost.predict(smaller) > _INEFFICIENT * smaller * cost.image_ns
        if (crowded and too_small) or cost.measured_ns(needed) > left_ns:
            raise Expired(
                f"the deadline is {left_ns / 1e6:.1f} ms away after {(now_ns - first.arrived_ns) / 1e6:.1f} ms of "
                f"waiting, and computing takes about {max(cost.predict(needed), cost.measured_ns(needed)) / 1e6:.1f} ms"
            )
        return max(smaller, needed)
