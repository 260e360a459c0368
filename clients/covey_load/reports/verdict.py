"""Whether the figures of a report may be believed, in one sentence."""

from __future__ import annotations

import enum

from covey_load.measurement import Capacity, Report, Run
from covey_load.reports import words


class Standing(enum.StrEnum):
    """Whether a run's figures may be believed, as the tables say it."""

    VALID = "yes"
    INVALID = "NO"
    OVERLOAD = "overload"  # a try beyond the capacity that was found
    SET_ASIDE = "set aside"  # any other run that such a search could do without


def standing(run: Run, capacity: Capacity | None) -> Standing:
    """The standing of one run of a report, which may have searched for the `capacity`."""
    if not run.invalid:
        return Standing.VALID
    if capacity is None or capacity.rate_per_s is None:
        return Standing.INVALID
    return Standing.OVERLOAD if (run.load.rate_per_s or 0.0) > capacity.rate_per_s else Standing.SET_ASIDE


def is_valid(report: Report) -> bool:
    """Whether something was measured, and no run that the result rests on is invalid."""
    return bool(report.runs) and not invalid_runs(report)


def invalid_runs(report: Report) -> list[Run]:
    """The runs marked invalid; none of a capacity search that found one, as its result rests on the others."""
    return [run for run in report.runs if standing(run, report.capacity) is Standing.INVALID]


def sentence(report: Report) -> str:
    """The verdict, which begins with VALID or INVALID. A test that ended early is valid as far as it went."""
    ended = words.ended_early(report.interrupted) if report.interrupted else ""
    if not report.runs:
        return f"INVALID because nothing was measured{f': {ended}' if ended else ''}"
    bad = invalid_runs(report)
    after = f" ({ended})" if ended else ""
    if not bad:
        return f"VALID as far as it went{after}" if ended else "VALID"
    if len(report.runs) == 1:
        return f"INVALID because {'; '.join(bad[0].invalid)}{after}"
    names = ", ".join(words.load_name(run.load) for run in bad)
    return f"INVALID because {len(bad)} of {len(report.runs)} runs must not be believed: {names}{after}"
