"""The cost model: a model's run time by batch size, measured at load and adapted by real runs.

Knows neither models nor engines, only sizes and nanoseconds.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

# What a batch costs beside its run: forming it, giving the answers, and above all waiting for the interpreter's lock.
# It is 50 us on an idle server; under load batches of 16 images served a fifth less than of 64 (a run each).
_OVERHEAD_NS = 500_000
_NEAR_BEST = 1.02  # times the best cost per image; a smaller batch up to here is preferred, as nobody waits for it
_FRESHNESS = 0.05  # weight of one real run against those before it
_FORGETTING = 0.01  # by which sizes that do not run go back to what was measured: no bad moment lasts for ever
_MAX_STEP = 2.0  # counted of one run; one that was held up says little about the next
_REPEATS = 7
_NO_GAIN = 0.98  # times the cost per image of half the size; above that, larger batches are not worth trying


class CostModel:
    """Predicts how long a batch takes. Safe enough from any thread: a lost update among many does no harm."""

    __slots__ = (
        "_at_load_ns",
        "_best",
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
        self._at_load_ns = list(self.measured.values())
        self._run_ns = self._at_load_ns[:]
        self.best_batch_size = best_batch_size(self.measured)
        self.workers_until_ns = 0  # until then no batch runs inline, after one took far longer than predicted
        self.error = 0.0  # moving average of |real / predicted - 1|
        self._best = self._sizes.index(self.best_batch_size)
        self.batch_ns = self._run_ns[self._best]
        self.image_ns = self.batch_ns / self.best_batch_size

    def predict(self, size: int) -> float:
        """The run time of a batch of `size` images in ns, interpolated between measured sizes."""
        return _interpolate(self._sizes, self._run_ns, size)

    def largest_within(self, time_ns: float, max_size: int) -> int:
        """The largest batch, of at most `max_size` images, that is predicted to take no longer; 0 if there is none."""
        low, high = 0, max_size
        while low < high:
            middle = (low + high + 1) // 2
            if self.predict(middle) <= time_ns:
                low = middle
            else:
                high = middle - 1
        return low

    def observe(self, size: int, run_ns: int) -> None:
        """Learns from a real run: the sizes next to `size` move a little towards it, the others back to what was
        measured at load."""
        sizes, before = self._sizes, self._run_ns
        ratio = run_ns / _interpolate(sizes, before, size)
        self.error += _FRESHNESS * (min(abs(ratio - 1), _MAX_STEP) - self.error)
        step = 1 + _FRESHNESS * (min(max(ratio, 1 / _MAX_STEP), _MAX_STEP) - 1)
        above = min(bisect_left(sizes, size), len(sizes) - 1)
        below = above if above == 0 or sizes[above] == size else above - 1
        after = [now + _FORGETTING * (at_load - now) for now, at_load in zip(before, self._at_load_ns, strict=True)]
        after[above] = before[above] * step
        after[below] = before[below] * step
        self._run_ns = after
        self.batch_ns = after[self._best]
        self.image_ns = self.batch_ns / self.best_batch_size

    def measured_ns(self, count: int) -> float:
        """The time for so many images in batches of the best size, as measured at load."""
        batches, rest = divmod(count, self.best_batch_size)
        best_ns = self.measured[self.best_batch_size]
        return batches * best_ns + (_interpolate(self._sizes, self._at_load_ns, rest) if rest else 0.0)


def _interpolate(sizes: Sequence[int], run_ns: Sequence[float], size: int) -> float:
    above = bisect_left(sizes, size)
    if above == len(sizes):
        return run_ns[-1] * size / sizes[-1]
    if sizes[above] == size or above == 0:
        return run_ns[above]
    share = (size - sizes[above - 1]) / (sizes[above] - sizes[above - 1])
    return run_ns[above - 1] + share * (run_ns[above] - run_ns[above - 1])


def best_batch_size(run_ns: Mapping[int, float]) -> int:
    """The smallest size that costs hardly more per image than the cheapest one."""
    per_image = {size: (each + _OVERHEAD_NS) / size for size, each in run_ns.items()}
    cheapest = min(per_image.values())
    return min(size for size, each in per_image.items() if each <= cheapest * _NEAR_BEST)


def measure(
    run: Callable[[int], object],
    largest: int,
    budget_s: float,
    clock_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[int, float]:
    """Measures the run time in ns for batches of 1, 2, 4, ... and `largest` images. Of a few runs each the shortest
    counts, since other work on the machine only makes runs longer, and a server that reloads is busy.

    Ends early if larger batches gain nothing, or when `budget_s` is used up; size 1 is always measured. The first run
    of each size is the warm-up and does not count.
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
        # The next size takes about twice as long, with warm-up and repeats.
        if size == largest or losses == 2 or clock_ns() + 4 * measured[size] > give_up:
            return measured
        size = min(2 * size, largest)
