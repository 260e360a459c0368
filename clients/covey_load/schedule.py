"""The moments at which an open loop sends, in nanoseconds from the start, in order. The same seed gives the same
moments; `seconds` may be infinite."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator

from covey_load.plan import Arrival


def moments(
    arrival: Arrival,
    rates_per_s: tuple[float, float],
    warm_up_s: float,
    seconds: float,
    seed: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[int]:
    """The moments of the warm-up and of the `seconds` after it, of one generator process out of `parts` that share the
    rate.

    A ramp goes from the first rate to the second, and warms up at the first; all others have the first one only.
    """
    first, last = (rate / parts for rate in rates_per_s)
    if arrival is Arrival.CONSTANT:
        return constant(first, warm_up_s + seconds, part, parts)
    seed = seed * 1_000 + part * 2
    warm_up_ns = int(warm_up_s * 1e9)
    measured = ramp(first, last if arrival is Arrival.RAMP else first, seconds, seed + 1)
    return itertools.chain(ramp(first, first, warm_up_s, seed), (warm_up_ns + moment for moment in measured))


def ramp(first_per_s: float, last_per_s: float, seconds: float, seed: int) -> Iterator[int]:
    """A Poisson process whose rate goes straight from `first_per_s` to `last_per_s`.

    The gaps between arrivals are independent and exponentially distributed, so arrivals come in bursts as those of
    callers do who do not know of each other, and no answer of the server's delays the next one.
    """
    gap = random.Random(seed).expovariate
    growth = (last_per_s - first_per_s) / seconds if first_per_s != last_per_s else 0.0
    expected = gap(1.0)  # calls to be expected up to the next moment; with these, gaps have a mean of 1
    while (moment_s := _moment(expected, first_per_s, growth)) < seconds:
        yield int(moment_s * 1e9)
        expected += gap(1.0)


def constant(rate_per_s: float, seconds: float, part: int = 0, parts: int = 1) -> Iterator[int]:
    """A moment every 1 / `rate_per_s`. With `parts`, so many generators of that rate send evenly together; these are
    one's moments."""
    gap_ns = 1e9 / rate_per_s
    offset_ns = gap_ns * part / parts
    for number in itertools.count():
        moment_ns = offset_ns + number * gap_ns
        if moment_ns >= seconds * 1e9:
            return
        yield int(moment_ns)


def _moment(expected: float, first_per_s: float, growth_per_s: float) -> float:
    """The moment by which `first * t + growth * t² / 2` calls are expected; infinite where that is never."""
    if growth_per_s == 0:
        return expected / first_per_s
    under_root = first_per_s * first_per_s + 2 * growth_per_s * expected
    return (math.sqrt(under_root) - first_per_s) / growth_per_s if under_root >= 0 else math.inf
