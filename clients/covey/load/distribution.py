"""Owns distributions of times: an HdrHistogram filled from arrays, and what may be said of it.

A percentile is given where at least ten samples lie beyond it: p50 from 20 samples on, p90 from 100, p99 from 1,000,
p99.9 from 10,000. With fewer, it would say more of chance than of the server.
"""

from __future__ import annotations

import math

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from covey.load.measurement import Latency

PERCENTILES = ("50", "90", "95", "99", "99.9")
SAMPLES_BEYOND = 10
_LONGEST_US = 3_600_000_000
_DIGITS = 3
_EXACT_BITS = 11  # a histogram of 3 digits tells numbers of so many bits apart
_CURVE_POINTS_PER_DECADE = 10
_Z_95 = 1.96


def supports(count: int, percentile: float) -> bool:
    """Whether so many samples are enough for that percentile."""
    return round(count * (100 - percentile) / 100, 6) >= SAMPLES_BEYOND


class Distribution:
    """Times in nanoseconds, kept as microseconds to three digits; count, mean and extremes exactly."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _LONGEST_US, _DIGITS)
        self._sum_ns = 0.0
        self._min_ns = math.inf
        self._max_ns = 0.0
        self.count = 0

    def add(self, times_ns: NDArray[np.int64]) -> None:
        if not len(times_ns):
            return
        self.count += len(times_ns)
        self._sum_ns += float(times_ns.sum())
        self._min_ns = min(self._min_ns, float(times_ns.min()))
        self._max_ns = max(self._max_ns, float(times_ns.max()))
        times_us = np.clip(times_ns // 1_000, 1, _LONGEST_US)
        coarse = np.maximum(np.frexp(times_us.astype(np.float64))[1] - _EXACT_BITS, 0)
        values, counts = np.unique(times_us >> coarse << coarse, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def percentile_ms(self, percentile: float) -> float | None:
        """None where the samples do not support it."""
        return self._at_ms(percentile) if supports(self.count, percentile) else None

    def latency(self) -> Latency:
        """All that is known of it; zeros where there are no samples."""
        percentiles = {name: self.percentile_ms(float(name)) for name in PERCENTILES}
        return Latency(
            count=self.count,
            mean_ms=self._sum_ns / self.count / 1e6 if self.count else 0.0,
            min_ms=self._min_ns / 1e6 if self.count else 0.0,
            max_ms=self._max_ns / 1e6,
            percentiles_ms={name: value for name, value in percentiles.items() if value is not None},
            p99_interval_ms=self._interval_ms(99) if supports(self.count, 99) else None,
            curve_ms=self._curve_ms(),
            histogram=self._histogram.encode().decode("ascii"),
        )

    def _at_ms(self, percentile: float) -> float:
        value_ms = float(self._histogram.get_value_at_percentile(percentile)) / 1e3
        return min(max(value_ms, self._min_ns / 1e6), self._max_ns / 1e6)

    def _interval_ms(self, percentile: float) -> tuple[float, float]:
        """95 % confidence, from order statistics: the ranks between which the true percentile lies, whatever the
        distribution (the binomial distribution of how many samples lie below it, as a normal one)."""
        share = percentile / 100
        spread = _Z_95 * math.sqrt(self.count * share * (1 - share))
        low = max(math.floor(self.count * share - spread), 1)
        high = min(math.ceil(self.count * share + spread) + 1, self.count)
        return self._at_ms(100 * low / self.count), self._at_ms(100 * high / self.count)

    def _curve_ms(self) -> list[tuple[float, float]]:
        """Ten points for each further nine of the percentile, up to the largest sample."""
        if not self.count:
            return []
        last = math.floor(math.log10(self.count) * _CURVE_POINTS_PER_DECADE)
        percentiles = [100 * (1 - 10 ** (-step / _CURVE_POINTS_PER_DECADE)) for step in range(last + 1)]
        points = [(round(percentile, 6), self._at_ms(percentile)) for percentile in percentiles]
        return [*points, (100.0, self._max_ns / 1e6)]
