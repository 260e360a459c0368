"""When a canary is promoted, when it is rolled back, and that neither is decided by chance."""

from __future__ import annotations

import math

import pytest

from covey_server.observability.canary_rules import Compared, Figures, Rules, Verdict, bounds, percentile_s
from covey_server.observability.tally import SECONDS

RULES = Rules(agreement=0.9, slowdown=2.0, images=1000, window_s=60)


def figures(ok: int, failed: int = 0, late: int = 0, slow: int = 0, slow_s: float = 1.0, invalid: int = 0) -> Figures:
    """Calls of one image each: `slow` of them took `slow_s`, all others 1 ms."""
    times = [0] * (len(SECONDS) + 1)
    times[SECONDS.index(0.001)] = ok - slow
    times[SECONDS.index(slow_s)] += slow
    return Figures(ok, failed, late, ok, invalid, tuple(times))


def judge(
    canary: Figures, served: Figures | None = None, compared: tuple[int, int] = (1000, 1000), elapsed_s: float = 60
) -> Verdict | None:
    return RULES.judge(canary, served or figures(9000), Compared(*compared), elapsed_s, "version 1")


def why(verdict: Verdict | None) -> str:
    return "" if verdict is None else verdict.reason


def test_a_good_canary_is_promoted_once_it_has_answered_enough_for_long_enough() -> None:
    assert judge(figures(1000)) == Verdict("promoted", "enough", "it has answered 1,000 images in 60 s")
    assert judge(figures(999)) is None
    assert judge(figures(1000), elapsed_s=59.9) is None


@pytest.mark.parametrize("compared", [(0, 0), (99, 99), (899, 1000)])
def test_it_is_not_promoted_before_it_is_known_to_agree(compared: tuple[int, int]) -> None:
    assert judge(figures(5000), compared=compared) is None


def test_it_is_not_promoted_while_it_has_no_time_for_calls_though_they_are_too_few_to_judge() -> None:
    of_100_images = figures(10, late=90)._replace(images=1000)
    assert judge(of_100_images) is None
    assert judge(of_100_images, figures(10, late=90)) is not None  # the served version has as little


@pytest.mark.parametrize(
    ("compared", "reason"),
    [((0, 19), ""), ((0, 20), "agreement"), ((14, 20), ""), ((70, 100), "agreement"), ((86, 100), ""),
     ((860, 1000), "agreement"), ((900, 1000), "enough")],
)  # fmt: skip
def test_agreement(compared: tuple[int, int], reason: str) -> None:
    assert why(judge(figures(1000), compared=compared)) == reason


@pytest.mark.parametrize(
    ("canary", "served", "reason"),
    [
        (figures(0, 9), figures(100), ""),  # too few
        (figures(0, 10), figures(100), "errors"),
        (figures(9, 1), figures(100), ""),  # may be chance
        (figures(970, 30), figures(9000), "errors"),
        (figures(970, 30), figures(8000, 400), ""),  # the served version fails as often
        (figures(100, invalid=20), figures(9000), "errors"),
        (figures(100, invalid=20), figures(9000, invalid=2000), ""),
        (figures(0, 50), figures(0), "errors"),
    ],
)
def test_errors(canary: Figures, served: Figures, reason: str) -> None:
    assert why(judge(canary, served, compared=(20, 20))) == reason


@pytest.mark.parametrize(
    ("canary", "served", "reason"),
    [
        (figures(199, slow=199), figures(9000), ""),  # too few
        (figures(200, slow=200), figures(199), ""),
        (figures(200, slow=200), figures(9000), "slow"),
        (figures(200, slow=200, slow_s=0.002), figures(9000), ""),  # twice as long is allowed
        (figures(200, slow=200, slow_s=0.005), figures(9000), "slow"),
        (figures(1000, slow=15), figures(9000), "enough"),  # 1.5 % may be chance
        (figures(1000, slow=40), figures(9000), "slow"),
        (figures(1000, slow=40), figures(9000, slow=200), "enough"),  # the served version's are as slow
        (figures(200, late=40), figures(9000), "slow"),
        (figures(1000, slow=1000), figures(9000, slow=9000, slow_s=5.0), "enough"),  # nothing longer is told apart
    ],
)
def test_slowness(canary: Figures, served: Figures, reason: str) -> None:
    assert why(judge(canary, served)) == reason


@pytest.mark.parametrize(
    ("canary", "served", "reason"),
    [
        (figures(0, late=199), figures(9000), ""),  # too few
        (figures(0, late=200), figures(199), ""),
        (figures(0, late=200), figures(9000), "slow"),  # though it has answered nobody
        (figures(0, late=200), figures(0, late=200), ""),  # the callers' deadlines are too short for both
        (figures(1000, late=15), figures(9000), "enough"),  # it may be chance
        (figures(1000, late=500), figures(9000, late=1000), "slow"),  # both are late, it more often
        (figures(1000, late=200), figures(9000, slow=9000, slow_s=5.0), "slow"),  # where times are not told apart
    ],
)
def test_lateness(canary: Figures, served: Figures, reason: str) -> None:
    assert why(judge(canary, served)) == reason


@pytest.mark.parametrize(
    ("runs", "canary_s", "reason"), [(19, 9.0, ""), (20, 2.0, ""), (20, 2.1, "slow"), (20, 0.1, "")]
)
def test_the_same_images_may_take_it_twice_as_long(runs: int, canary_s: float, reason: str) -> None:
    compared = Compared(60, 60, runs, canary_s, 1.0)
    assert why(RULES.judge(figures(60), figures(60), compared, 60, "version 1")) == reason


def test_a_rule_that_is_broken_counts_at_once() -> None:
    found = judge(figures(30), compared=(0, 30), elapsed_s=1)
    assert found is not None
    assert found.outcome == "rolled_back"
    assert found.text == "0.0% of 30 images got the same class from version 1, at least 90.0% are to"


def test_errors_at_the_end_keep_it_from_being_promoted() -> None:
    """1.5 % may be chance; but then it is not good yet either."""
    assert judge(figures(985, 15)) is None
    assert why(judge(figures(995, 5))) == ""
    assert why(judge(figures(1000, 5))) == "enough"


@pytest.mark.parametrize(("count", "of"), [(0, 10), (3, 10), (10, 10), (500, 1000)])
def test_the_bounds_hold_what_was_seen(count: int, of: int) -> None:
    low, high = bounds(count, of)
    rounding = 1e-12
    assert -rounding <= low <= count / of + rounding
    assert count / of - rounding <= high <= 1 + rounding
    # Wilson's own equation: the share seen lies 3 standard errors of each bound away from it.
    for bound in (low, high):
        assert (count / of - bound) ** 2 == pytest.approx(9 * bound * (1 - bound) / of, abs=1e-9)


def test_without_samples_nothing_is_known() -> None:
    assert bounds(0, 0) == (0.0, 1.0)
    assert percentile_s([0] * (len(SECONDS) + 1)) == SECONDS[0]


def test_the_percentile_is_a_bound_of_the_histogram() -> None:
    assert percentile_s(figures(100, slow=1).times) == 0.001
    assert percentile_s(figures(100, slow=2).times) == 1.0
    assert percentile_s(figures(100).times, late=2) == math.inf


def test_figures_since_a_moment() -> None:
    found = figures(10, failed=2, slow=3).since(figures(4, failed=1, slow=1))
    assert found == figures(6, failed=1, slow=2)
