"""Distributions against sorted lists."""

from __future__ import annotations

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

from covey_load.distribution import Distribution, supports

MS = 1_000_000
Times = NDArray[np.float64]


def distribution(*parts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Distribution:
    result = Distribution()
    for part in parts:
        result.add(part)
    return result


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


def interval(times_ms: Times, seconds: int) -> tuple[float, float] | None:
    times = distribution((times_ms * MS).astype(np.int64))
    return times.latency(np.array_split(times_ms.astype(np.float32), seconds)).p99_interval_ms


def queue_times_ms(generator: np.random.Generator, load: float, seconds: int) -> Times:
    """A queue with one server, 1,000 random arrivals a second, exponential service times: each waits for those before
    it, so that slow ones come together. The 99th percentile is known."""
    count, skipped = 1_000 * seconds, 3_000  # calls before the first, so that it finds the queue as it is
    service_ms = generator.exponential(load, skipped + count)
    steps_ms = np.append(0.0, np.cumsum(service_ms[:-1] - generator.exponential(1.0, skipped + count - 1)))
    return (steps_ms - np.minimum.accumulate(steps_ms) + service_ms)[skipped:]


def test_the_interval_of_the_99th_holds_the_true_one_in_about_95_of_100_runs() -> None:
    """Where the times are independent, and where they are those of a queue."""
    generator = np.random.default_rng(4)
    half_loaded = [interval(queue_times_ms(generator, 0.5, 20), 20) for _ in range(40)]
    independent = [interval(generator.exponential(1.0, 20_000), 20) for _ in range(40)]
    for intervals, truth_ms in ((half_loaded, -np.log(0.01)), (independent, -np.log(0.01))):
        holds_truth = [bounds[0] <= truth_ms <= bounds[1] for bounds in intervals if bounds is not None]
        assert len(holds_truth) == 40
        assert sum(holds_truth) >= 36


def test_the_interval_is_never_narrower_than_for_independent_times() -> None:
    """Here each second has the same times, so that the share of slow ones does not scatter at all."""
    times_ms = np.tile(np.linspace(1.0, 100.0, 1_000), 20)
    bounds = interval(times_ms, 20)
    assert bounds is not None
    assert bounds[1] - bounds[0] > 0.1


def test_no_percentile_lies_beyond_what_was_measured() -> None:
    """The histogram keeps three digits."""
    latency = distribution(np.full(2_000, 12_345_678)).latency()
    assert set(latency.percentiles_ms.values()) == {12.345678}


def test_a_run_too_short_for_its_queue_has_mostly_no_interval() -> None:
    generator = np.random.default_rng(5)
    truth_ms = -np.log(0.01) * 0.9 / (1 - 0.9)
    intervals = [interval(queue_times_ms(generator, 0.9, 10), 10) for _ in range(20)]
    assert sum(bounds is not None and not bounds[0] <= truth_ms <= bounds[1] for bounds in intervals) <= 1
    assert sum(bounds is None for bounds in intervals) >= 18


@pytest.mark.parametrize(("slow_seconds", "has_interval"), [(9, False), (11, True)])
def test_the_interval_needs_slow_calls_in_half_of_its_blocks(slow_seconds: int, has_interval: bool) -> None:
    times_ms = np.random.default_rng(7).exponential(1.0, (20, 1_000))
    times_ms[:slow_seconds, :40] += 20.0
    assert (interval(times_ms.ravel(), 20) is not None) == has_interval


def test_no_interval_without_five_seconds() -> None:
    times_ms = np.random.default_rng(6).exponential(1.0, 5_000)
    assert interval(times_ms, 4) is None
    assert interval(times_ms, 5) is not None
    assert distribution((times_ms * MS).astype(np.int64)).latency().p99_interval_ms is None


def test_few_samples_tell_little_and_none_nothing() -> None:
    latency = distribution(np.full(19, 5 * MS)).latency()
    assert (latency.percentiles_ms, latency.p99_interval_ms, latency.max_ms) == ({}, None, 5.0)
    none = Distribution().latency()
    assert (none.count, none.mean_ms, none.min_ms, none.max_ms, none.curve_ms) == (0, 0, 0, 0, [])


def test_times_beyond_the_histogram_are_kept_at_its_ends() -> None:
    latency = distribution(np.array([0, 10_000 * 3_600 * MS])).latency()
    assert (latency.count, latency.min_ms, latency.max_ms) == (2, 0, 36_000_000)
