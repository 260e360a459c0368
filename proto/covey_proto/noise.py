"""Owns Student's distribution, and whether two groups of repeated measurements differ by more than their noise.

The interval is Welch's for the difference of two means: it holds for few repetitions, and for groups that scatter
differently. One measurement says nothing about noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, variance

# The value that so many percent of Student's distribution lie above, for 1, 2, 3 ... 30 degrees of freedom.
PERCENT_2_5 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
PERCENT_0_5 = (
    *(63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169),
    *(3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845),
    *(2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750),
)


def difference_interval(
    first: Sequence[float], second: Sequence[float], table: Sequence[float] = PERCENT_0_5
) -> tuple[float, float] | None:
    """The interval of mean(second) - mean(first), by default that of 99 %, with PERCENT_2_5 that of 95 %; None where a
    group has fewer than two measurements."""
    if min(len(first), len(second)) < 2:
        return None
    difference = fmean(second) - fmean(first)
    parts = [variance(group) / len(group) for group in (first, second)]
    error = sum(parts)
    if error == 0:
        return difference, difference
    freedom = error**2 / sum(part**2 / (len(group) - 1) for part, group in zip(parts, (first, second), strict=True))
    half_width = student(table, freedom) * math.sqrt(error)
    return difference - half_width, difference + half_width


def student(table: Sequence[float], freedom: float) -> float:
    """Between two numbers of the table on their chord, which is on the safe side: the curve bends below it. Beyond the
    table its last number."""
    place = min(max(freedom, 1.0), len(table)) - 1
    below, above = table[math.floor(place)], table[math.ceil(place)]
    return below + (above - below) * (place - math.floor(place))
