"""The search for the capacity, on servers that are a formula."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.load.examples import run as example_run

from covey_load import capacity
from covey_load.measurement import Run
from covey_load.reports import facts

TRY_S = 10.0


def answers(share_at: Callable[[float], float], invalid_from: float = 1e9) -> Callable[[float, float], Run]:
    def try_rate(rate: float, seconds: float) -> Run:
        calls = round(rate * seconds)
        return replace(
            example_run(),
            calls=calls,
            seconds=seconds,
            calls_within_slo=round(share_at(rate) * calls),
            invalid=["the load generator was CPU-bound"] if rate >= invalid_from else [],
        )

    return try_rate


@pytest.mark.parametrize("first_per_s", [3.0, 700.0, 90_000.0])
def test_it_finds_the_rate_at_which_the_bound_breaks_to_5_percent(first_per_s: float) -> None:
    result = capacity.search(answers(lambda rate: 1.0 if rate <= 1_234 else 0.5), first_per_s, 20, TRY_S)
    assert result.rate_per_s == pytest.approx(1_234, rel=0.05)
    assert result.rate_per_s is not None
    assert result.rate_per_s <= 1_234
    assert dict(result.tried)[result.rate_per_s] == 1.0
    assert (result.slo_ms, result.share, result.limited_by) == (20, 0.99, [])


def test_99_percent_within_the_bound_are_enough_and_98_are_not() -> None:
    result = capacity.search(answers(lambda rate: 0.991 if rate <= 50 else 0.98), 10, 20, TRY_S)
    assert result.rate_per_s == pytest.approx(50, rel=0.05)


def test_one_hiccup_does_not_lose_the_rates_above() -> None:
    shares = iter([1.0, 0.4])

    def share_at(rate: float) -> float:
        return next(shares, 1.0 if rate <= 1_234 else 0.5)

    result = capacity.search(answers(share_at), 300, 20, TRY_S)
    assert result.tried[:3] == [(300, 1.0), (600, 0.4), (600, 1.0)]
    assert result.rate_per_s == pytest.approx(1_234, rel=0.05)


def test_a_server_that_never_holds_has_no_capacity() -> None:
    result = capacity.search(answers(lambda rate: 0.9), 100, 20, TRY_S)
    assert result.rate_per_s is None
    assert min(rate for rate, _ in result.tried) == 11


def test_each_try_has_the_calls_that_a_99th_percentile_needs() -> None:
    """A server that never has more than 97 % of its calls within the bound: of eighty calls that is now and then 99."""
    draw = random.Random(0)
    tries: list[tuple[float, float]] = []

    def try_rate(rate: float, seconds: float) -> Run:
        tries.append((rate, seconds))
        calls = round(rate * seconds)
        within_bound = sum(draw.random() < 0.97 for _ in range(calls))
        return replace(example_run(), calls=calls, seconds=seconds, calls_within_slo=within_bound)

    for _ in range(10):
        result = capacity.search(try_rate, 8.0, 100, TRY_S)
        assert result.rate_per_s is None
    assert set(tries) == {(11.0, 100.0)}
    assert facts.capacity(result).endswith(
        "Lower ones were not tried: below 11 calls/s a try of 100 s has not enough calls for a 99th percentile; ask "
        "for longer ones (--seconds)."
    )
    tries.clear()
    capacity.search(try_rate, 300.0, 100, 1_000.0)  # as long as was asked for
    assert {seconds for _, seconds in tries} == {1_000.0}
    assert min(rate for rate, _ in tries) == 1.1


def test_a_try_that_came_to_too_few_calls_does_not_hold() -> None:
    short_run = replace(example_run(), calls=999, calls_within_slo=999)
    result = capacity.search(
        lambda rate, seconds: short_run if rate >= 100 else answers(lambda rate: 1.0)(rate, seconds), 60, 20, TRY_S
    )
    assert result.rate_per_s == pytest.approx(100, rel=0.05)
    failed = min(rate for rate, share in result.tried if rate >= 100)
    assert result.limited_by == [f"at {failed:g} calls/s not enough calls for a 99th percentile: 999"]


def test_where_the_generator_gives_out_first_that_is_said() -> None:
    result = capacity.search(answers(lambda rate: 1.0, invalid_from=3_000), 500, 20, TRY_S)
    assert result.rate_per_s == pytest.approx(3_000, rel=0.05)
    failed = min(rate for rate, _ in result.tried if rate >= 3_000)
    assert result.limited_by == [f"at {failed:g} calls/s the load generator was CPU-bound"]


def test_a_load_test_that_is_stopped_answers_what_it_knows() -> None:
    runs = iter([answers(lambda rate: 1.0)(100.0, TRY_S), None])
    result = capacity.search(lambda rate, seconds: next(runs), 100, 20, TRY_S)
    assert (result.rate_per_s, result.tried) == (100, [(100, 1.0)])
    assert facts.capacity(result).endswith(" It may be higher: the search ended early.")
    none = capacity.search(lambda rate, seconds: None, 100, 20, TRY_S)
    assert facts.capacity(none) == "Capacity: no rate was tried: the search ended early."
