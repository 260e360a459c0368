"""Moments of arrival: they are what they are called, and the same seed gives the same."""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import pairwise

import pytest

from covey_load import schedule
from covey_load.plan import Arrival

MS = 1_000_000


def test_arrivals_are_a_poisson_process() -> None:
    arrivals = list(schedule.ramp(2000, 2000, 10, seed=1))
    assert arrivals == list(schedule.ramp(2000, 2000, 10, seed=1)) != list(schedule.ramp(2000, 2000, 10, seed=2))
    assert arrivals == sorted(arrivals)
    assert 0 <= arrivals[0] < arrivals[-1] < 10e9
    # Deviations of a Poisson count and of exponential gaps, each with five standard deviations of room.
    assert len(arrivals) == pytest.approx(20_000, abs=5 * 20_000**0.5)
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    assert statistics.fmean(gaps) == pytest.approx(500_000, rel=0.04)
    assert statistics.pstdev(gaps) == pytest.approx(500_000, rel=0.08)
    per_10_ms = Counter(arrival // (10 * MS) for arrival in arrivals)
    counts = [per_10_ms[index] for index in range(1000)]
    assert statistics.pvariance(counts) == pytest.approx(20, rel=0.25)  # of independent arrivals: equal to the mean


def test_a_ramp_goes_straight_from_one_rate_to_the_other() -> None:
    for first, last in ((1_000, 3_000), (3_000, 1_000)):
        per_second = Counter(moment // 1_000_000_000 for moment in schedule.ramp(first, last, 4, seed=3))
        step = (last - first) / 4
        for second in range(4):
            expected = first + step * (second + 0.5)
            assert per_second[second] == pytest.approx(expected, abs=5 * expected**0.5)
        assert max(per_second) == 3


def test_a_constant_rate_is_even_and_parts_of_it_take_turns() -> None:
    assert list(schedule.constant(100, 0.05)) == [0, 10 * MS, 20 * MS, 30 * MS, 40 * MS]
    parts = [list(schedule.constant(50, 1, part, 2)) for part in range(2)]
    assert sorted(parts[0] + parts[1]) == list(schedule.constant(100, 1))


def test_several_processes_together_have_the_rate_and_none_the_moments_of_another() -> None:
    parts = [list(schedule.moments(Arrival.POISSON, (900, 900), 1, 3, 7, part, 3)) for part in range(3)]
    assert len({tuple(part) for part in parts}) == 3
    assert sum(map(len, parts)) == pytest.approx(900 * 4, abs=5 * 3600**0.5)
    assert all(part == sorted(part) for part in parts)


def test_a_ramp_warms_up_at_its_first_rate() -> None:
    moments = list(schedule.moments(Arrival.RAMP, (500, 1_500), 2, 2, seed=1))
    warm_up = [moment for moment in moments if moment < 2e9]
    assert len(warm_up) == pytest.approx(1_000, abs=5 * 1_000**0.5)
    assert len(moments) - len(warm_up) == pytest.approx(2_000, abs=5 * 2_000**0.5)
    assert moments == sorted(moments)
