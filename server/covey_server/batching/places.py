"""Where in a model's queue a request would stand, and how many images would leave before it."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from covey_server.batching.model_queue import ModelQueue
from covey_server.batching.request import Request
from covey_server.batching.turns import BATCH

# Who has waited for so long is not overtaken any more: nobody starves, however late its deadline.
_MAX_OVERTAKEN_NS = 500_000_000
_turn = attrgetter("turn")


def images_before(queue: ModelQueue, request: Request) -> int:
    """How many images would leave before this request's last one if it were appended now."""
    best = queue.model.cost.best_batch_size
    last_turn = queue.turns_of(request).next_of(request.caller) + (request.count - 1) // best * best
    ahead = queue.reruns.images
    # Nearly always only single images wait: then bisect. Walking the queue for each refused request cost more than
    # half of the answers at three times the capacity (2 shared AMD EPYC cores, 2026-11-29).
    if len(queue.requests) + ahead == queue.images:
        return ahead + bisect_right(queue.requests, last_turn, key=_turn)
    for other in queue.requests:
        if other.turn > last_turn:
            break
        ahead += min(other.count - other.taken, ((last_turn - other.turn) // best + 1) * best)
    return ahead


def by_deadline(queue: ModelQueue, request: Request, deadline_ns: int, now_ns: int) -> tuple[int, int]:
    """The earliest place that a request with that deadline may take, and how many images wait before it. It passes
    other callers' requests only if its own turn is no more than a batch away, and those of priority batch always,
    of which none passes others."""
    place, ahead = len(queue.requests), queue.images
    best, turns = queue.model.cost.best_batch_size, queue.turns_of(request)
    may_pass = request.count <= best and turns.next_of(request.caller) <= turns.clock + best
    for other in reversed(queue.requests):
        if other.turn >= BATCH and not request.gives_way:
            place -= 1
            ahead -= other.count - other.taken
            continue
        if (
            (request.gives_way and other.turn < BATCH)
            or (other.deadline_ns is not None and other.deadline_ns <= deadline_ns)
            or now_ns - other.queued_ns > _MAX_OVERTAKEN_NS
            or (other.taken if other.caller == request.caller else not may_pass)
        ):
            break
        place -= 1
        ahead -= other.count - other.taken
    return place, ahead
