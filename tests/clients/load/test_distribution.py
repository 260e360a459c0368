"""Distributions against sorted lists."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram

from covey.load.distribution import Distribution, supports

MS = 1_000_000


def distribution(*parts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Distribution:
    made = Distribution()
    for part in parts:
        made.add(part)
    return made


def test_percentiles_are_those_of_the_sorted_samples_to_three_digits() -> None:
    times_ns = (np.random.default_rng(1).lognormal(1.0, 1.5, 200_000) * MS).astype(np.int64)
    latency = distribution(*np.array_split(times_ns, 7)).latency()
    assert set(latency.percentiles_ms) == {"50", "90", "95", "99", "99.9"}
    for name, value in latency.percentiles_ms.items():
        assert value == pytest.approx(np.percentile(times_ns, float(name)) / MS, rel=0.003)
    assert latency.count == 200_000
    assert latency.mean_ms == pytest.approx(times_ns.mean() / MS)
    assert (latency.min_ms, latency.max_ms) == (times_ns.min() / MS, times_ns.max() / MS)
    assert latency.curve_ms == sorted(latency.curve_ms)
    assert latency.curve_ms[-1] == (100.0, latency.max_ms)
    again = HdrHistogram.decode(latency.histogram)
    assert again.get_total_count() == 200_000
    assert again.get_value_at_percentile(99) / 1e3 == pytest.approx(latency.percentiles_ms["99"])


@pytest.mark.parametrize(("percentile", "least"), [(50.0, 20), (90.0, 100), (95.0, 200), (99.0, 1_000), (99.9, 10_000)])
def test_a_percentile_needs_ten_samples_beyond_it(percentile: float, least: int) -> None:
    assert supports(least, percentile)
    assert not supports(least - 1, percentile)


def test_the_interval_of_the_99th_holds_the_true_one_in_about_95_of_100_samples() -> None:
    """Of an exponential distribution the 99th percentile is known."""
    generator = np.random.default_rng(4)
    truth_ms = -np.log(0.01)
    hits = 0
    for _ in range(60):
        interval = distribution((generator.exponential(MS, 2_000)).astype(np.int64)).latency().p99_interval_ms
        assert interval is not None
        hits += interval[0] <= truth_ms <= interval[1]
    assert 0.88 <= hits / 60 < 1


def test_few_samples_tell_little_and_none_nothing() -> None:
    few = distribution(np.full(19, 5 * MS)).latency()
    assert (few.percentiles_ms, few.p99_interval_ms, few.max_ms) == ({}, None, 5.0)
    none = Distribution().latency()
    assert (none.count, none.mean_ms, none.min_ms, none.max_ms, none.curve_ms) == (0, 0, 0, 0, [])


def test_times_beyond_the_histogram_are_kept_at_its_ends() -> None:
    latency = distribution(np.array([0, 10_000 * 3_600 * MS])).latency()
    assert (latency.count, latency.min_ms, latency.max_ms) == (2, 0, 36_000_000)
