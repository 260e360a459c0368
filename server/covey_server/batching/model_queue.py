"""The queue of one model: the order of its requests, and how the next batch is cut from it.

Callers take turns by images, as `turns` says: a caller with much waiting comes later and later, and one with little is
next. A request of more images than a batch holds gets a new turn with each batch.

One caller's requests keep their order. A request that would miss its deadline in its turn goes before those that have
more time, and only then.

Requests of priority batch stand behind all others, and leave when no other waits. So that they do not starve, they get
a batch of their own whenever others have had BATCH_SHARE times as many images before them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import attrgetter
from typing import TYPE_CHECKING

from covey_server.batching.batch import Batch, DispatchReason, Part
from covey_server.batching.batch_size import batch_size
from covey_server.batching.request import Group, Request, raise_if_expired_or_cancelled
from covey_server.batching.reruns import Rerun, Reruns
from covey_server.batching.suspects import Suspects
from covey_server.batching.turns import BATCH, Turns
from covey_server.errors import Cancelled, Expired, RequestError

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

BATCH_SHARE = 19  # images of others for each of priority batch, while both wait

_turn = attrgetter("turn")


class ModelQueue:
    """The requests of one model. Its owner, the batcher, holds the lock."""

    __slots__ = (
        "_batch_turns",
        "_groups",
        "_passed",
        "_suspects",
        "_turns",
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
        self._turns = Turns()
        self._batch_turns = Turns(BATCH)
        self._passed = 0  # images that have left before those of priority batch, since those had a batch
        self.reruns = Reruns()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.requests or self.reruns)

    @property
    def due_ns(self) -> int:
        """By what models take turns: since when the model has waited, or later if only priority batch waits for it:
        other models get BATCH_SHARE times its time."""
        if self.requests and self.requests[0].turn >= BATCH and not self.reruns:
            return self.waiting_since_ns + int(BATCH_SHARE * self.model.cost.batch_ns)
        return self.waiting_since_ns

    def turns_of(self, request: Request) -> Turns:
        """The turns of a request's priority."""
        return self._batch_turns if request.gives_way else self._turns

    def append(self, request: Request) -> None:
        """Adds a request in its caller's turn."""
        requests = self.requests
        turns = self.turns_of(request)
        if not requests:
            self.waiting_since_ns = request.queued_ns
        self.images += request.count
        # All of it leaves with the next batch of its priority: no order is needed.
        if self.images <= self.model.cost.best_batch_size and (not requests or requests[-1].turn < turns.clock):
            request.turn = turns.clock - 1
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
        turns = self.turns_of(group)
        if (
            self.images + group.count > self.model.cost.best_batch_size
            or self._suspects
            or self.reruns
            or (requests and requests[-1].turn >= turns.clock)
        ):
            return False
        if not requests:
            self.waiting_since_ns = group.queued_ns
        self.images += group.count
        self._groups += 1
        group.turn = turns.clock - 1
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

    def insert(self, place: int, request: Request) -> None:
        """Adds a request before others, at a place from `places.by_deadline`."""
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
        suspects, best = self._suspects, self.model.cost.best_batch_size
        if suspects:
            suspects.forget()
        begin, end = self._next_priority()
        both = end - begin < len(self.requests)
        requests = self.requests[begin:end] if both else self.requests
        waiting = _count(requests, best + 1) if both else self.images
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
                    room = batch_size(request, waiting, now_ns)
                    if room < min(best, waiting):
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
            turns = self._turns if request.turn < BATCH else self._batch_turns
            if request.turn > turns.clock:
                turns.clock = request.turn
            if not room:
                break
        self.requests[begin : begin + place] = passed
        self._groups = 0  # they have left, with all others
        size = 0
        for part in parts:
            size += part.stop - part.start
        if parts and (last := parts[-1].request).taken < last.count:
            last.turn += parts[-1].stop - parts[-1].start
            self.requests.insert(bisect_right(self.requests, last.turn, key=_turn), last)
        if both and not begin:
            self._passed += size
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

    def _next_priority(self) -> tuple[int, int]:
        """From where to where in the queue the requests are that are next: all of them, unless both priorities wait."""
        requests = self.requests
        if not requests or requests[-1].turn < BATCH or requests[0].turn >= BATCH:
            self._passed = 0
            return 0, len(requests)
        border = bisect_left(requests, BATCH, key=_turn)
        if self._passed < BATCH_SHARE * _count(requests[border:], self.model.cost.best_batch_size):
            return 0, border
        self._passed = 0
        return border, len(requests)

    def _take_turn(self, request: Request) -> int:
        """The turn of a caller's next request."""
        count = request.count
        if self._suspects and request.caller in self._suspects:
            count = max(count, self.model.cost.best_batch_size)  # it runs apart, which costs others a batch
        return self.turns_of(request).take(request.caller, count)

    def _drop(self, request: Request) -> None:
        """Counts out a request that will not run. If it is large, its caller's later requests move forward by its
        images."""
        caller, left = request.caller, request.count - request.taken
        self.images -= left
        if left <= self.model.cost.best_batch_size or not self.turns_of(request).give_back(caller, left):
            return
        for other in self.requests:
            if other.caller == caller and other.turn > request.turn and other.gives_way == request.gives_way:
                other.turn = max(request.turn, other.turn - left)
        self.requests.sort(key=_turn)

    def _may_leave_whole(self, now_ns: int) -> bool:
        """Whether all that waits can be the next batch: then groups need not be expanded."""
        cost = self.model.cost
        if self._suspects or self.reruns or self.images > cost.best_batch_size:
            return False
        if self.requests[0].turn < BATCH <= self.requests[-1].turn:
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


def _count(requests: Iterable[Request], enough: int) -> int:
    """How many images of requests wait; counting ends once there are `enough`."""
    count = 0
    for request in requests:
        count += request.count - request.taken
        if count >= enough:
            break
    return count
