"""Searches for the capacity: the highest Poisson rate at which 99 % of the calls are answered within a bound.

A refused or failed call is one that was not. The search doubles or halves from a first guess until it has a rate that
holds and one that does not, then tries between the two until they are 5 % apart. A rate that fails is tried once more
before it counts: one hiccup of the machine would lose all rates above for good. What it answers was measured, with as
many calls as a 99th percentile needs: tries of low rates last longer, and rates that would need too long are not tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from covey_load.distribution import supports
from covey_load.measurement import Capacity, Run

SHARE_WITHIN = 0.99
MAX_TRY_S = 100.0  # unless longer tries were asked for
_PLANNED_CALLS = 1_100  # Poisson arrivals leave 1,000 of them in 999 of 1,000 tries
_CLOSE_ENOUGH = 1.05
_MAX_TRIES = 30

# Tries a rate for so many seconds; None where the load test is being stopped.
TryRate = Callable[[float, float], Run | None]


def search(try_rate: TryRate, first_per_s: float, slo_ms: float, try_s: float) -> Capacity:
    """Tries rates, from `first_per_s` on, for `try_s` or as long as it takes to have enough calls. A run that is
    invalid, or has too few calls, does not hold: its figures are not the server's."""
    tried: list[tuple[float, float]] = []
    held: float | None = None
    failed = math.inf
    limits: list[str] = []
    longest_s = max(try_s, MAX_TRY_S)
    lowest = _PLANNED_CALLS / longest_s
    rate, again = max(first_per_s, lowest), False  # again: it is the second time for this rate
    while len(tried) < _MAX_TRIES and failed > max(lowest, _CLOSE_ENOUGH * (held or 0.0)):
        run = try_rate(rate, max(try_s, _PLANNED_CALLS / rate))
        if run is None:
            limits = ["the search ended early"]
            break
        share = share_within(run)
        tried.append((rate, share))
        problems = run.invalid or _too_few(run)
        if share >= SHARE_WITHIN and not problems:
            held = rate
        elif again:
            failed, limits = rate, [f"at {rate:g} calls/s {reason}" for reason in problems]
        again = not again and rate != held
        if not again:
            rate = max(_next(held, failed), lowest)
    if failed <= lowest:
        limits = [_not_tried(lowest, longest_s)]
    return Capacity(rate_per_s=held, slo_ms=slo_ms, share=SHARE_WITHIN, tried=tried, limited_by=limits)


def share_within(run: Run) -> float:
    """The share of all calls that were answered within the bound."""
    return (run.calls_within_slo or 0) / run.calls if run.calls else 0.0


def _too_few(run: Run) -> list[str]:
    if supports(run.calls, 100 * SHARE_WITHIN):
        return []
    return [f"not enough calls for a 99th percentile: {run.calls:,}"]


def _not_tried(lowest_per_s: float, longest_s: float) -> str:
    return (
        f"below {lowest_per_s:.3g} calls/s a try of {longest_s:g} s has not enough calls for a 99th percentile; ask "
        f"for longer ones (--seconds)"
    )


def _next(held: float | None, failed: float) -> float:
    """The next rate to try, to three digits: a run cannot tell more."""
    if held is None:
        rate = failed / 2
    elif failed == math.inf:
        rate = held * 2
    else:
        rate = math.sqrt(held * failed)
    return float(f"{rate:.3g}")
