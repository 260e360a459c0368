"""Distributions of times: an HdrHistogram filled from arrays, and the figures that its samples support.

A percentile is given where at least ten samples lie beyond it: p50 from 20 samples on, p90 from 100, p99 from 1,000,
p99.9 from 10,000. With fewer, it would say more of chance than of the server.

The interval of the 99th does not take calls for independent: those that meet in a queue, or in a pause of the machine,
are late together. The run is cut into blocks of a second or more, and its noise is what the shares of slow calls in the
blocks scatter by. That holds where what makes calls slow is over within a block. Where blocks depend on each other too,
as close to a server's capacity, most runs have no interval, and those that have one may have too narrow a one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from covey_load.measurement import Latency
from covey_proto.noise import PERCENT_2_5, student

PERCENTILES = ("50", "90", "95", "99", "99.9")
SAMPLES_BEYOND = 10
_MAX_US = 3_600_000_000
_DIGITS = 3
_EXACT_BITS = 11  # a histogram of 3 digits tells numbers of so many bits apart
_CURVE_POINTS_PER_DECADE = 10
_MIN_BLOCKS, _MAX_BLOCKS = 5, 20


def supports(count: int, percentile: float) -> bool:
    """Whether that many samples are enough for the percentile."""
    return round(count * (100 - percentile) / 100, 6) >= SAMPLES_BEYOND


class Distribution:
    """Times in nanoseconds, kept as microseconds to three digits; count, mean and extremes exactly."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _MAX_US, _DIGITS)
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
        times_us = np.clip(times_ns // 1_000, 1, _MAX_US)
        coarse = np.maximum(np.frexp(times_us.astype(np.float64))[1] - _EXACT_BITS, 0)
        values, counts = np.unique(times_us >> coarse << coarse, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._histogram.record_value(value, count)

    def percentile_ms(self, percentile: float) -> float | None:
        """The percentile; None where the samples do not support it."""
        return self._at_ms(percentile) if supports(self.count, percentile) else None

    def latency(self, seconds_ms: Sequence[NDArray[np.float32]] = ()) -> Latency:
        """All figures of the distribution; zeros where there are no samples. `seconds_ms` are the same times by the
        seconds in which they began; without them there is no interval."""
        percentiles = {name: self.percentile_ms(float(name)) for name in PERCENTILES}
        return Latency(
            count=self.count,
            mean_ms=self._sum_ns / self.count / 1e6 if self.count else 0.0,
            min_ms=self._min_ns / 1e6 if self.count else 0.0,
            max_ms=self._max_ns / 1e6,
            percentiles_ms={name: value for name, value in percentiles.items() if value is not None},
            p99_interval_ms=self._interval_ms(99, seconds_ms) if supports(self.count, 99) else None,
            curve_ms=self._curve_ms(),
            histogram=self._histogram.encode().decode("ascii"),
        )

    def _at_ms(self, percentile: float) -> float:
        value_ms = float(self._histogram.get_value_at_percentile(percentile)) / 1e3
        return min(max(value_ms, self._min_ns / 1e6), self._max_ns / 1e6)

    def _interval_ms(self, percentile: float, seconds_ms: Sequence[NDArray[np.float32]]) -> tuple[float, float] | None:
        """95 % confidence: the percentiles between which the true one lies, by how much the share of times above it
        differs between blocks (batch means), and never narrower than for independent times. None where there are fewer
        than five seconds, where fewer than half of the blocks have a time above it (so few tell no scatter), or where
        the share is so uncertain that the largest time may lie below the true percentile.
        """
        blocks = min(len(seconds_ms), _MAX_BLOCKS)
        if blocks < _MIN_BLOCKS:
            return None
        above_ms, share = self._at_ms(percentile), 1 - percentile / 100
        slow = _sum_blocks([int(np.count_nonzero(times_ms > above_ms)) for times_ms in seconds_ms], blocks)
        count = _sum_blocks([len(times_ms) for times_ms in seconds_ms], blocks)
        if np.count_nonzero(slow) < blocks / 2:
            return None
        differences = slow - count * slow.sum() / self.count
        variance = max(
            float(np.square(differences).sum()) * blocks / (blocks - 1) / self.count**2,
            share * (1 - share) / self.count,
        )
        spread = 100 * student(PERCENT_2_5, blocks - 1) * math.sqrt(variance)
        if percentile + spread >= 100:
            return None
        return self._at_ms(percentile - spread), self._at_ms(percentile + spread)

    def _curve_ms(self) -> list[tuple[float, float]]:
        """Ten points for each further nine of the percentile, up to the largest sample."""
        if not self.count:
            return []
        last = math.floor(math.log10(self.count) * _CURVE_POINTS_PER_DECADE)
        percentiles = [100 * (1 - 10 ** (-step / _CURVE_POINTS_PER_DECADE)) for step in range(last + 1)]
        points = [(round(percentile, 6), self._at_ms(percentile)) for percentile in percentiles]
        return [*points, (100.0, self._max_ns / 1e6)]


def _sum_blocks(by_second: Sequence[int], blocks: int) -> NDArray[np.float64]:
    return np.array([block.sum() for block in np.array_split(np.array(by_second, np.float64), blocks)])
