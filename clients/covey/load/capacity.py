"""Searches for the capacity: the highest Poisson rate at which 99 % of the calls are answered within a bound.

A refused or failed call is one that was not. The search doubles or halves from a first guess until it has a rate that
holds and one that does not, then tries between the two until they are 5 % apart. A rate that fails is tried once more
before it counts: one hiccup of the machine would lose all rates above for good. What it answers was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from covey.load.measurement import Capacity, Run

SHARE_WITHIN = 0.99
_CLOSE_ENOUGH = 1.05
_MOST_TRIES = 30
_LOWEST_PER_S = 0.5

TryRate = Callable[[float], Run | None]  # None: no more, as the load test is being stopped


def search(try_rate: TryRate, first_per_s: float, slo_ms: float) -> Capacity:
    """Tries rates, from `first_per_s` on. A run that is invalid does not hold: its figures are not the server's."""
    tried: list[tuple[float, float]] = []
    held: float | None = None
    failed = math.inf
    limits: list[str] = []
    rate, again = first_per_s, False  # again: it is the second time for this rate
    while len(tried) < _MOST_TRIES and rate >= _LOWEST_PER_S and failed > _CLOSE_ENOUGH * (held or 0.0):
        run = try_rate(rate)
        if run is None:
            break
        share = share_within(run)
        tried.append((rate, share))
        if share >= SHARE_WITHIN and not run.invalid:
            held = rate
        elif again:
            failed, limits = rate, run.invalid
        again = not again and rate != held
        if not again:
            rate = _next(held, failed)
    return Capacity(rate_per_s=held, slo_ms=slo_ms, share=SHARE_WITHIN, tried=tried, limited_by=limits)


def share_within(run: Run) -> float:
    """Of all calls, those answered within the bound."""
    return (run.goodput_per_s or 0.0) * run.seconds / run.calls if run.calls else 0.0


def _next(held: float | None, failed: float) -> float:
    """To three digits: more would say more than a run can tell."""
    if held is None:
        rate = failed / 2
    elif failed == math.inf:
        rate = held * 2
    else:
        rate = math.sqrt(held * failed)
    return float(f"{rate:.3g}")
