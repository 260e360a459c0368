"""The report as text of at most 100 columns. Its first line says whether the figures may be believed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from covey.cli import table
from covey_load.measurement import Report
from covey_load.reports import facts, tables, verdict

COLUMNS = 100


def write_summary(report: Report) -> str:
    """The whole summary, without a last line break."""
    runs = report.runs
    parts = [wrap(verdict.sentence(report)), _named(facts.about(report))]
    if len(runs) == 1:
        parts += [_named(facts.throughput(runs[0])), aligned(tables.latency(runs[0])), _named(facts.inside(runs[0]))]
    elif runs:
        parts += [aligned(tables.steps(runs, report.capacity)), aligned(tables.insides(runs))]
    parts.append("\n".join(wrap(line, indent="  ") for line in facts.remarks(report)))
    if report.capacity:
        parts.append(wrap(facts.capacity(report.capacity)))
    return "\n\n".join(part for part in parts if part)


def wrap(text: str, indent: str = "") -> str:
    """`text` over as many lines as it needs, all but the first indented. Words stay whole: a path is to be copied."""
    return textwrap.fill(
        table.printable(text), COLUMNS, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def aligned(shown: tables.Table) -> str:
    """The table in columns, its numbers to the right."""
    header = [title.upper() for title in shown.header]
    return table.render(header, shown.rows, right=header[1:])


def _named(rows: Sequence[facts.Row]) -> str:
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(wrap(f"{name:{width}}{text}", indent=" " * width) for name, text in rows)
