"""Owns how rows look to people: the table of ratios in a terminal, and both tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.rows import Machine, Row

_GOALS = ("scenario", "figure", "value", "unit", "floor", "ratio", "target", "stretch", "met", "least-most")
_FIGURES = ("scenario", "figure", "value", "unit", "least-most", "floor", "ratio")
_RIGHT_ALIGNED = {"value", "floor", "ratio", "target", "stretch", "least-most"}


def is_ratio(row: Row) -> bool:
    """Whether a row belongs into the table of ratios: it has a target, a floor, or failed to get a value."""
    return row.target is not None or row.ratio is not None or row.value is None


def render_table(rows: Sequence[Row]) -> str:
    """The rows of ratios and goals, for a terminal, and below it what there is to say of some of them."""
    shown = [row for row in rows if is_ratio(row)]
    lines = [_GOALS, *([_cell(row, column) for column in _GOALS] for row in shown)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def render(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if name in _RIGHT_ALIGNED else cell.ljust(width)
            for name, cell, width in zip(_GOALS, line, widths, strict=True)
        )
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    notes = [f"{row.scenario}, {row.figure}: {row.note}" for row in rows if row.note]
    return "\n".join([render(lines[0]), rule, *map(render, lines[1:]), *(["", *notes] if notes else [])])


def render_markdown(rows: Sequence[Row], machine: Machine) -> str:
    """Everything that was measured: the ratios, then the figures beside them, and where it was."""
    ratios = [row for row in rows if is_ratio(row)]
    others = [row for row in rows if not is_ratio(row)]
    parts = [", ".join(f"{name} {value}" for name, value in machine.items())]
    parts += [_markdown([*_GOALS, "against"], ratios), _markdown([*_FIGURES, "against"], others)]
    notes = [f"- {row.scenario}, {row.figure}: {row.note}" for row in rows if row.note]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def number(value: float | None) -> str:
    """Three digits and the sign of a thousand: 0.912, 1.43, 56.6, 24,152."""
    if value is None or not math.isfinite(value):
        return "" if value is None else "none"
    digits = 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _cell(row: Row, column: str) -> str:
    match column:
        case "scenario" | "figure" | "unit" | "against":
            return str(getattr(row, column))
        case "met":
            if row.met is None:
                return "not measured" if row.value is None else "-"
            return "NO" if not row.met else "stretch" if row.met_stretch else "yes"
        case "least-most":
            return "" if row.low is None or row.rounds < 2 else f"{number(row.low)}-{number(row.high)}"
        case "target" | "stretch":
            limit: float | None = getattr(row, column)
            return "" if limit is None else f"{'>=' if row.at_least else '<='} {number(limit)}"
    value: float | None = getattr(row, column)
    return number(value)


def _markdown(columns: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [columns, ["---:" if column in _RIGHT_ALIGNED else "---" for column in columns]]
    lines += [[_cell(row, column) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
