"""The measured curve, the batch size it pays to gather, and how predictions follow real runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_server.inference.cost import CostModel, best_batch_size, measure

MS = 1_000_000


class Clock:
    """Time that passes only when something runs, so long as the test says."""

    def __init__(self, run_ns: dict[int, int]) -> None:
        self.now_ns = 0
        self.run_ns = run_ns
        self.runs: list[int] = []

    def run(self, size: int) -> None:
        self.runs.append(size)
        self.now_ns += self.run_ns[size]

    def __call__(self) -> int:
        return self.now_ns


def test_measures_powers_of_two_and_the_largest() -> None:
    clock = Clock({size: 100_000 + 10_000 * size for size in (1, 2, 4, 8, 16, 24)})
    assert measure(clock.run, 24, 1.0, clock) == {size: 100_000 + 10_000 * size for size in (1, 2, 4, 8, 16, 24)}


def test_every_size_runs_once_more_than_is_counted() -> None:
    clock = Clock({1: 1000})
    times = iter([50_000, *[1000] * 20])  # the first run of a size is slow

    def run(size: int) -> None:
        clock.now_ns += next(times)

    assert measure(run, 1, 1.0, clock) == {1: 1000}


def test_ends_where_larger_batches_gain_nothing() -> None:
    clock = Clock({size: 30 * MS * size for size in (1, 2, 4, 8, 16, 32, 64)})
    assert list(measure(clock.run, 64, 100.0, clock)) == [1, 2, 4]
    clock = Clock({size: MS * size // 10 for size in (1, 2, 4, 8, 16, 32, 64)})
    assert list(measure(clock.run, 64, 100.0, clock)) == [1, 2, 4, 8, 16, 32, 64]  # fewer batches are a gain as well


def test_ends_when_its_time_is_used_up_but_never_without_size_1() -> None:
    slow = Clock({size: (200 + size) * MS for size in (1, 2, 4)})
    assert list(measure(slow.run, 64, 0.25, slow)) == [1]
    quick = Clock({size: (10 + size // 8) * MS for size in (1, 2, 4, 8, 16, 32, 64)})
    assert list(measure(quick.run, 64, 0.25, quick)) == [1, 2, 4]


def test_the_best_batch_is_the_smallest_that_costs_hardly_more_per_image() -> None:
    assert best_batch_size({1: 50 * MS, 2: 60 * MS, 4: 90 * MS, 8: 180 * MS, 16: 359 * MS}) == 4
    assert best_batch_size({1: 30 * MS, 2: 60 * MS, 4: 120 * MS}) == 1
    # 5 us an image for the network itself, but each batch costs the server some 0.5 ms under load
    assert best_batch_size({1: 5_000, 2: 10_000, 4: 20_000, 8: 40_000, 64: 320_000}) == 64


def test_predicts_between_and_beyond_what_was_measured() -> None:
    cost = CostModel({1: 100, 2: 120, 4: 200})
    assert [cost.predict(size) for size in (1, 2, 3, 4, 8)] == [100, 120, 160, 200, 400]


@given(time_ns=st.integers(0, 2000), most=st.integers(1, 64))
def test_largest_within_is_what_trying_every_size_gives(time_ns: int, most: int) -> None:
    cost = CostModel({1: 100, 2: 130, 8: 300, 32: 1000})
    expected = max((size for size in range(1, most + 1) if cost.predict(size) <= time_ns), default=0)
    assert cost.largest_within(time_ns, most) == expected


def test_follows_real_runs_and_says_how_far_it_was_off() -> None:
    cost = CostModel({1: 1000.0, 8: 2000.0, 64: 10_000.0})
    for _ in range(400):
        cost.observe(64, 20_000)
    assert cost.predict(64) == pytest.approx(20_000, rel=0.01)
    assert cost.predict(1) == 1000  # nothing of that size ran
    assert cost.measured_ns(1) == 1000
    assert cost.batch_ns == cost.predict(cost.best_batch_size)
    assert cost.error < 0.05
    assert cost.measured == {1: 1000, 8: 2000, 64: 10_000}  # the report of the load stays as it was


def test_one_run_that_was_held_up_changes_little() -> None:
    cost = CostModel({1: 1000.0})
    cost.observe(1, 1_000_000_000)
    assert cost.predict(1) < 1100


def test_what_does_not_run_goes_back_to_what_was_measured() -> None:
    cost = CostModel({1: 1000.0, 8: 2000.0, 64: 10_000.0})
    for _ in range(100):
        cost.observe(64, 100_000)
    assert cost.predict(64) > 20_000
    for _ in range(500):
        cost.observe(1, 1000)
    assert cost.predict(64) == pytest.approx(10_000, rel=0.1)


def test_what_many_images_took_at_load_is_batches_of_the_best_size() -> None:
    cost = CostModel({1: 10 * MS, 2: 12 * MS, 4: 18 * MS})
    assert cost.best_batch_size == 4
    assert [cost.measured_ns(count) / MS for count in (1, 2, 4, 5, 8, 10)] == [10, 12, 18, 28, 36, 48]
