"""The search for the capacity, on servers that are a formula."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.clients.load.made import run as made_run

from covey.load import capacity
from covey.load.measurement import Run


def answers(share_at: Callable[[float], float], invalid_from: float = 1e9) -> Callable[[float], Run]:
    def try_rate(rate: float) -> Run:
        calls = round(rate * 10)
        return replace(
            made_run(),
            calls=calls,
            seconds=10.0,
            goodput_per_s=share_at(rate) * calls / 10,
            invalid=["the load generator was CPU-bound"] if rate >= invalid_from else [],
        )

    return try_rate


@pytest.mark.parametrize("first_per_s", [3.0, 700.0, 90_000.0])
def test_it_finds_the_rate_at_which_the_bound_breaks_to_5_percent(first_per_s: float) -> None:
    found = capacity.search(answers(lambda rate: 1.0 if rate <= 1_234 else 0.5), first_per_s, slo_ms=20)
    assert found.rate_per_s == pytest.approx(1_234, rel=0.05)
    assert found.rate_per_s is not None
    assert found.rate_per_s <= 1_234
    assert dict(found.tried)[found.rate_per_s] == 1.0
    assert (found.slo_ms, found.share, found.limited_by) == (20, 0.99, [])


def test_99_percent_within_the_bound_are_enough_and_98_are_not() -> None:
    assert capacity.search(answers(lambda rate: 0.99 if rate <= 50 else 0.98), 10, 20).rate_per_s == pytest.approx(
        50, rel=0.05
    )


def test_one_hiccup_does_not_lose_the_rates_above() -> None:
    shares = iter([1.0, 0.4])

    def share_at(rate: float) -> float:
        return next(shares, 1.0 if rate <= 1_234 else 0.5)

    found = capacity.search(answers(share_at), 300, slo_ms=20)
    assert found.tried[:3] == [(300, 1.0), (600, 0.4), (600, 1.0)]
    assert found.rate_per_s == pytest.approx(1_234, rel=0.05)


def test_a_server_that_never_holds_has_no_capacity() -> None:
    found = capacity.search(answers(lambda rate: 0.9), 100, 20)
    assert found.rate_per_s is None
    assert min(rate for rate, _ in found.tried) < 1


def test_where_the_generator_gives_out_first_that_is_said() -> None:
    found = capacity.search(answers(lambda rate: 1.0, invalid_from=3_000), 500, 20)
    assert found.rate_per_s == pytest.approx(3_000, rel=0.05)
    assert found.limited_by == ["the load generator was CPU-bound"]


def test_a_load_test_that_is_stopped_answers_what_it_knows() -> None:
    runs = iter([answers(lambda rate: 1.0)(100.0), None])
    found = capacity.search(lambda rate: next(runs), 100, 20)
    assert (found.rate_per_s, found.tried) == (100, [(100, 1.0)])
