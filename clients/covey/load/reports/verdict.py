"""Whether the figures of a report may be believed, in one sentence."""

from __future__ import annotations

from covey.load.measurement import Report, Run
from covey.load.reports import words


def is_valid(report: Report) -> bool:
    """Something was measured, and no run that its answer rests on is marked invalid."""
    return bool(report.runs) and not unbelievable(report)


def unbelievable(report: Report) -> list[Run]:
    """The runs marked invalid; none of a search for the capacity that found one, as its answer rests on the others."""
    if report.capacity is not None and report.capacity.rate_per_s is not None:
        return []
    return [run for run in report.runs if run.invalid]


def sentence(report: Report) -> str:
    """Begins with VALID or INVALID. A test that ended early is valid as far as it went."""
    ended = f"ended early {report.interrupted}" if report.interrupted else ""
    if not report.runs:
        return f"INVALID because nothing was measured{f': {ended}' if ended else ''}"
    bad = unbelievable(report)
    after = f" ({ended})" if ended else ""
    if not bad:
        return f"VALID as far as it went{after}" if ended else "VALID"
    if len(report.runs) == 1:
        return f"INVALID because {'; '.join(bad[0].invalid)}{after}"
    names = ", ".join(words.load_name(run.load) for run in bad)
    return f"INVALID because {len(bad)} of {len(report.runs)} runs must not be believed: {names}{after}"
