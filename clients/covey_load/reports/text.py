"""Reports, comparisons and the doctor's findings as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from covey.cli import table
from covey_load import bottleneck, doctor
from covey_load.bottleneck import Runs
from covey_load.compare import NOISE_UNKNOWN, Comparison, LoadComparison
from covey_load.measurement import Report
from covey_load.reports import facts, tables, verdict, words
from covey_load.reports.words import number

COLUMNS = 100
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


def write_summary(report: Report) -> str:
    """The whole summary, without a last line break."""
    runs = report.runs
    parts = [wrap(verdict.sentence(report)), _named(facts.about(report))]
    if len(runs) == 1:
        parts += [_named(facts.throughput(runs[0])), _aligned(tables.latency(runs[0])), _named(facts.inside(runs[0]))]
    elif runs:
        parts += [_aligned(tables.steps(runs, report.capacity)), _aligned(tables.insides(runs))]
    parts.append("\n".join(wrap(line, indent="  ") for line in facts.remarks(report)))
    if report.capacity:
        parts.append(wrap(facts.capacity(report.capacity)))
    return "\n\n".join(part for part in parts if part)


def write_comparison(names: tuple[str, str], reports: tuple[Report, Report], comparison: Comparison) -> str:
    """The whole text, without a last line break. `names` are the reports' files."""
    sides = [
        wrap(f"{side:8}{name}: {words.subject(report)}, {report.started_at}", indent=" " * 8)
        for side, name, report in zip(("first", "second"), names, reports, strict=True)
    ]
    parts = ["\n".join(sides), "\n".join(wrap(f"Note: {remark}", indent="  ") for remark in comparison.remarks)]
    parts += map(_compared, comparison.loads)
    changes = [change for load in comparison.loads for change in load.changes]
    if any(change.interval for change in changes):
        parts.append(wrap(_MEANING))
    if any(change.verdict == NOISE_UNKNOWN for change in changes):
        parts.append(wrap(_ONE_REPETITION))
    return "\n\n".join(part for part in parts if part)


def write_diagnosis(report: Report, runs: Runs) -> str:
    """The whole text, without a last line break. `runs` are those of `report`."""
    limit = bottleneck.limit(runs)
    article = "" if limit.part == bottleneck.UNKNOWN else "the "
    others = "\n".join(wrap(f"- {sentence}", indent="  ") for sentence in doctor.others(runs))
    remarks = "\n".join(wrap(line, indent="  ") for line in facts.remarks(report))
    parts = [
        wrap(words.subject(report)),
        _aligned(_overview(report)),
        wrap(f"What limits it: {article}{limit.part}. {limit.sentence[0].upper()}{limit.sentence[1:]}."),
        others,
        remarks,
    ]
    return "\n\n".join(part for part in parts if part)


def wrap(text: str, indent: str = "") -> str:
    """`text` over as many lines as it needs, all but the first indented. Words stay whole: a path is to be copied."""
    return textwrap.fill(
        table.printable(text), COLUMNS, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _aligned(table_shown: tables.Table) -> str:
    """The table in columns, its numbers to the right."""
    header = [title.upper() for title in table_shown.header]
    return table.render(header, table_shown.rows, right=header[1:])


def _named(rows: Sequence[facts.Row]) -> str:
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(wrap(f"{name:{width}}{text}", indent=" " * width) for name, text in rows)


def _compared(load: LoadComparison) -> str:
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


def _overview(report: Report) -> tables.Table:
    rows = [
        [
            f"{words.load_name(run.load)}",
            number(run.calls_per_s),
            number(run.response.percentiles_ms.get("50")),
            number(run.response.percentiles_ms.get("99")),
        ]
        for run in report.runs
    ]
    return tables.Table(["run; latency in ms", "calls/s", "p50", "p99"], rows)
