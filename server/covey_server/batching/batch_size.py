"""How many images the next batch of a model takes."""

from __future__ import annotations

from covey_server.batching.request import Request
from covey_server.errors import Expired

_INEFFICIENT = 1.5  # times an image's cost in the best batch: more is too much for one deadline while many wait


def batch_size(first: Request, waiting: int, now_ns: int) -> int:
    """How many of the `waiting` images a batch takes that begins with a request. Raises Expired if that cannot be
    computed in time."""
    cost = first.model.cost
    size = min(waiting, cost.best_batch_size)
    if first.deadline_ns is None:
        return size
    left_ns = first.deadline_ns - now_ns
    if cost.predict(size) <= left_ns:
        return size
    needed = min(first.count - first.taken, size)
    smaller = cost.largest_within(left_ns, size)
    # While more than a batch waits, small batches for the first request would make all others late. Otherwise it is
    # tried if it was possible at load: predictions may be wrong after a bad moment.
    crowded = waiting > cost.best_batch_size
    too_small = smaller < needed or cost.predict(smaller) > _INEFFICIENT * smaller * cost.image_ns
    if (crowded and too_small) or cost.measured_ns(needed) > left_ns:
        raise Expired(
            f"the deadline is {left_ns / 1e6:.1f} ms away after {(now_ns - first.arrived_ns) / 1e6:.1f} ms of "
            f"waiting, and computing takes about {max(cost.predict(needed), cost.measured_ns(needed)) / 1e6:.1f} ms"
        )
    return max(smaller, needed)
