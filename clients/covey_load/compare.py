"""Compares two load tests: finds the runs that belong together, and judges how each figure changed.

The noise is that of the repetitions (`covey load --repeat N`): how far figures of one load differ although nothing was
changed. A ratio whose interval includes 1 is within the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from covey.errors import InvalidInput
from covey_load.measurement import Report, Run
from covey_load.reports import words
from covey_load.reports.figures import FIGURES, Figure
from covey_proto import noise

NOISE_UNKNOWN = "noise unknown"
WITHIN_NOISE = "within the noise"

_COMPARED = (
    *("calls_per_s", "images_per_s", "goodput_per_s", "error_share"),
    *("p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "service_p50_ms", "service_p99_ms"),
    *("outside_ms", "decode_ms", "queue_ms", "compute_ms", "batch_size"),
    *("client_cpu_us", "server_cpu_us", "server_memory_bytes"),
)
_RESOLUTION = 0.005  # a smaller difference, as a share, is below what clocks and histograms tell apart


@dataclass(frozen=True, slots=True)
class Change:
    """How one figure changed.

    `first` and `second` are geometric means over the repetitions, arithmetic ones where a value is 0. `ratio` is second
    / first, `interval` its 99 % interval; None where a value is 0, or where the repetitions are too few. `verdict` is
    "faster", "slower", "more", "less", "within the noise" or "noise unknown".
    """

    figure: Figure
    first: float
    second: float
    ratio: float | None
    interval: tuple[float, float] | None
    verdict: str


@dataclass(frozen=True, slots=True)
class LoadComparison:
    """The comparison of one load; `repetitions` are the numbers of its valid runs on both sides."""

    name: str
    repetitions: tuple[int, int]
    changes: list[Change]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The loads that both have, and what a reader must know about the two reports."""

    loads: list[LoadComparison]
    remarks: list[str]


def compare(first: Report, second: Report, *, anyway: bool = False) -> Comparison:
    """Compares the valid runs of one load with those of the same load.

    Raises InvalidInput where payload, bound or all loads differ; with `anyway` these become remarks, and loads without
    a counterpart are paired in their order.
    """
    firsts, seconds = _valid_by_load(first, "first"), _valid_by_load(second, "second")
    pairs = [(name, name) for name in firsts if name in seconds]
    obstacles = _obstacles(first, second)
    if not pairs:
        pairs = list(zip(firsts, seconds, strict=False))
        obstacles.append(f"no load is in both: {', '.join(firsts)} against {', '.join(seconds)}")
    if obstacles and not anyway:
        raise InvalidInput(f"not comparable: {'; '.join(obstacles)}. Measure both alike, or ask for it with --anyway")
    unpaired = [name for name in (*firsts, *seconds) if not any(name in pair for pair in pairs)]
    unpaired_remark = [f"only one report has {', '.join(unpaired)}"] if unpaired else []
    loads = [_compare_load(pair, firsts[pair[0]], seconds[pair[1]]) for pair in pairs]
    return Comparison(loads, [*obstacles, *unpaired_remark, *_other_circumstances(first, second)])


def judge(figure: Figure, first: Sequence[float], second: Sequence[float]) -> Change:
    """Compares one figure by its repetitions: as a ratio where all values are above 0, otherwise as a difference."""
    if min(*first, *second) <= 0:
        means = fmean(first), fmean(second)
        interval = noise.difference_interval(first, second)
        return Change(figure, *means, None, None, _verdict(figure, interval, _RESOLUTION * max(map(abs, means))))
    logarithms = [[math.log(value) for value in group] for group in (first, second)]
    interval = noise.difference_interval(*logarithms)
    means = math.exp(fmean(logarithms[0])), math.exp(fmean(logarithms[1]))
    ratio_interval = (math.exp(interval[0]), math.exp(interval[1])) if interval else None
    verdict = _verdict(figure, interval, math.log1p(_RESOLUTION))
    return Change(figure, *means, means[1] / means[0], ratio_interval, verdict)


def _verdict(figure: Figure, interval: tuple[float, float] | None, resolution: float) -> str:
    if interval is None:
        return NOISE_UNKNOWN
    low, high = interval
    if low > 0 and low + high > 2 * resolution:  # the middle of the interval is the difference itself
        return figure.higher
    if high < 0 and low + high < -2 * resolution:
        return figure.lower
    return WITHIN_NOISE


def _valid_by_load(report: Report, side: str) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in report.runs:
        if not run.invalid:
            images = f", {run.load.images_per_call:,} images a call" if run.load.images_per_call > 1 else ""
            groups.setdefault(run.load.name + images, []).append(run)
    if not groups:
        raise InvalidInput(f"not comparable: the {side} report has no valid run; measure it anew")
    return groups


def _obstacles(first: Report, second: Report) -> list[str]:
    """The reasons why the two reports do not measure the same."""
    obstacles = []
    if first.payload != second.payload:
        obstacles.append(f"the payload is another: {first.payload} against {second.payload}")
    if first.slo_ms != second.slo_ms:
        obstacles.append(f"the bound (--slo-ms) is another: {_bound(first)} against {_bound(second)}")
    return obstacles


def _bound(report: Report) -> str:
    return "none" if report.slo_ms is None else f"{report.slo_ms:g} ms"


def _other_circumstances(first: Report, second: Report) -> list[str]:
    """Remarks on circumstances that differ and may explain a difference."""
    left_out = [sum(bool(run.invalid) for run in report.runs) for report in (first, second)]
    remarks = (
        [f"left out as invalid: {words.plural(left_out[0], 'run')} of the first, {left_out[1]} of the second"]
        if any(left_out)
        else []
    )
    if first.machine != second.machine:
        remarks.append("the load came from different machines or Pythons")
    if words.models(first) != words.models(second):
        remarks.append(f"the models have different names: {words.models(first)} and {words.models(second)}")
    return remarks


def _compare_load(names: tuple[str, str], first: Sequence[Run], second: Sequence[Run]) -> LoadComparison:
    title = names[0] if names[0] == names[1] else " against ".join(names)
    changes = [
        judge(figure, *values)
        for figure in map(FIGURES.__getitem__, _COMPARED)
        if all(values := (_values(figure, first), _values(figure, second)))
    ]
    return LoadComparison(title, (len(first), len(second)), changes)


def _values(figure: Figure, runs: Sequence[Run]) -> list[float]:
    """The figure's values in the runs that have it."""
    return [value for value in map(figure.value, runs) if value is not None]
