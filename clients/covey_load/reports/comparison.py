"""A comparison as text of at most 100 columns."""

from __future__ import annotations

from covey.cli import table
from covey_load.compare import NOISE_UNKNOWN, Comparison, LoadComparison
from covey_load.measurement import Report
from covey_load.reports import words
from covey_load.reports.summary import wrap
from covey_load.reports.words import number

_NUMBERS = ("FIRST", "SECOND", "RATIO", "99 % INTERVAL")
_HEADER = ("FIGURE", *_NUMBERS, "SECOND IS")
_MEANING = (
    "First and second are geometric means over the repetitions (arithmetic where a value is 0), ratio is second / "
    "first. 99 times in 100 the interval holds the true ratio, if the repetitions show all the noise there is; where "
    "it includes 1, no difference was shown. A machine that drifts from one report to the next looks like a change: "
    "measure the first once more, after the second, and compare it too."
)
_ONE_REPETITION = (
    "Noise unknown: with one repetition on a side no difference can be told from chance; measure both with --repeat 5."
)


def write_comparison(names: tuple[str, str], reports: tuple[Report, Report], found: Comparison) -> str:
    """The whole text, without a last line break. `names` are the reports' files."""
    sides = [
        wrap(f"{side:8}{name}: {words.subject(report)}, {report.started_at}", indent=" " * 8)
        for side, name, report in zip(("first", "second"), names, reports, strict=True)
    ]
    parts = ["\n".join(sides), "\n".join(wrap(f"Note: {remark}", indent="  ") for remark in found.remarks)]
    parts += map(_load, found.loads)
    changes = [change for load in found.loads for change in load.changes]
    if any(change.interval for change in changes):
        parts.append(wrap(_MEANING))
    if any(change.verdict == NOISE_UNKNOWN for change in changes):
        parts.append(wrap(_ONE_REPETITION))
    return "\n\n".join(part for part in parts if part)


def _load(load: LoadComparison) -> str:
    first, second = load.repetitions
    title = f"{load.name} ({words.plural(first, 'run')} and {words.plural(second, 'run')})"
    rows = [
        (
            change.figure.title,
            number(change.first),
            number(change.second),
            number(change.ratio),
            words.interval(change.interval),
            change.verdict,
        )
        for change in load.changes
    ]
    return f"{wrap(title)}\n{table.render(_HEADER, rows, right=_NUMBERS)}"
