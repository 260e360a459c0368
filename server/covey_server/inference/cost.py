"""What a batch costs: the run time of a model by batch size, measured at load and kept fresh by real runs.

Knows no model and no engine, only sizes and nanoseconds.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

# What a batch costs beside its run: forming it, handing the answers out, and above all waiting for the interpreter's
# lock. 50 us on an idle server; under load 16 images at once served a fifth less than 64 (a run each).
_OVERHEAD_NS = 500_000
_NEAR_BEST = 1.02  # a smaller batch is as good as the best one up to here: it makes nobody wait
_FRESHNESS = 0.05  # weight of one real run against those before it
_FORGETTING = 0.01  # sizes that do not run go back to what was measured, so that no bad moment is remembered for ever
_MAX_STEP = 2.0  # a run that was held up by something else says little about the next one
_REPEATS = 7
_NO_GAIN = 0.98  # twice the images must cost less than this per image, or larger batches are not tried


class CostModel:
    """Predicts how long a batch will take. Fed by any thread: a lost update among many does no harm."""

    __slots__ = (
        "_run_ns",
        "_sizes",
        "batch_ns",
        "best_batch_size",
        "error",
        "image_ns",
        "measured",
        "workers_until_ns",
    )

    def __init__(self, measured: Mapping[int, float]) -> None:
        """`measured` is the run time in ns by batch size, at least for size 1."""
        self.measured = dict(sorted(measured.items()))
        self._sizes = list(self.measured)
        self._run_ns = list(self.measured.values())
        self.best_batch_size = best_batch_size(self.measured)
        self.workers_until_ns = 0  # until then its batches are for workers alone: one took far longer than predicted
        self.error = 0.0  # moving average of |real / predicted - 1|
        self.batch_ns = self.predict(self.best_batch_size)
        self.image_ns = self.batch_ns / self.best_batch_size

    def predict(self, size: int) -> float:
        """The run time of a batch of `size` images in ns: between two measured sizes the straight line."""
        return _interpolate(self._sizes, self._run_ns, size)

    def largest_within(self, time_ns: float, most: int) -> int:
        """The largest batch of at most `most` images that is predicted to take no longer; 0 where none does."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            if self.predict(middle) <= time_ns:
                low = middle
            else:
                high = middle - 1
        return low

    def observe(self, size: int, run_ns: int) -> None:
        """Learns from a real run: the measured sizes next to `size` move a little towards it, the others back to what
        was measured at load."""
        ratio = run_ns / self.predict(size)
        self.error += _FRESHNESS * (min(abs(ratio - 1), _MAX_STEP) - self.error)
        step = 1 + _FRESHNESS * (min(max(ratio, 1 / _MAX_STEP), _MAX_STEP) - 1)
        above = min(bisect_left(self._sizes, size), len(self._sizes) - 1)
        below = above if above == 0 or self._sizes[above] == size else above - 1
        for place, (now, at_load) in enumerate(zip(self._run_ns, self.measured.values(), strict=True)):
            near = below <= place <= above
            self._run_ns[place] = now * step if near else now + _FORGETTING * (at_load - now)
        self.batch_ns = self.predict(self.best_batch_size)
        self.image_ns = self.batch_ns / self.best_batch_size

    def measured_ns(self, count: int) -> float:
        """What that many images took at load, in batches of the best size."""
        batches, rest = divmod(count, self.best_batch_size)
        best_ns = self.measured[self.best_batch_size]
        return batches * best_ns + (_interpolate(self._sizes, list(self.measured.values()), rest) if rest else 0.0)


def _interpolate(sizes: Sequence[int], run_ns: Sequence[float], size: int) -> float:
    above = bisect_left(sizes, size)
    if above == len(sizes):
        return run_ns[-1] * size / sizes[-1]
    if sizes[above] == size or above == 0:
        return run_ns[above]
    share = (size - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
    return run_ns[above - 1] + share * (run_ns[above] - run_ns[above - 1])


def best_batch_size(run_ns: Mapping[int, float]) -> int:
    """The smallest of the sizes that costs hardly more per image than the cheapest one."""
    per_image = {size: (each + _OVERHEAD_NS) / size for size, each in run_ns.items()}
    cheapest = min(per_image.values())
    return min(size for size, each in per_image.items() if each <= cheapest * _NEAR_BEST)


def measure(
    run: Callable[[int], object],
    largest: int,
    budget_s: float,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[int, float]:
    """Run time in ns by batch size: 1, 2, 4, ... and `largest`, the shortest of a few runs each: what else the
    machine does makes runs longer, never shorter, and a server that reloads is a busy one.

    Ends early where larger batches gain nothing, or once `budget_s` is used up; size 1 is always measured. The
    first run of a size is not counted: it is the warm-up.
    """
    measured: dict[int, float] = {}
    per_image: dict[int, float] = {}
    give_up = clock_ns() + int(budget_s * 1e9)
    size, losses = 1, 0
    while True:
        run(size)
        times = []
        for _ in range(_REPEATS):
            began = clock_ns()
            run(size)
            now = clock_ns()
            times.append(now - began)
            if now > give_up:
                break
        measured[size] = float(max(1, min(times)))
        half_ns = per_image.get(size // 2)
        per_image[size] = (measured[size] + _OVERHEAD_NS) / size
        losses = losses + 1 if half_ns is not None and per_image[size] > _NO_GAIN * half_ns else 0
        # The next size takes about twice as long, warm-up and repeats included.
        if size == largest or losses == 2 or clock_ns() + 4 * measured[size] > give_up:
            return measured
        size = min(2 * size, largest)
