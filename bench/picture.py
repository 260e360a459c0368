"""Owns the picture of a benchmark: every figure that has a target, as a share of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.rows import Row
from bench.table import number

# Okabe and Ito's: told apart by colour-blind eyes too.
_MET, _STRETCH, _MISSED, _INVALID, _MARK = "#56B4E9", "#009E73", "#D55E00", "#BBBBBB", "#000000"
_MAX_BAR = 2.2  # bars are cut off there; what they say stands to the right of all


def draw_goals(rows: Sequence[Row], caption: str, path: Path) -> None:
    """Draws each row with a target as a bar: how much of what the target allows was used, so that shorter is better
    and the line at 1 is the target; a mark shows the stretch. Replaces `path` in one step."""
    shown = [row for row in rows if row.target is not None and row.judged is not None]
    figure = Figure(figsize=(11, 1.6 + 0.62 * max(len(shown), 1)), layout="constrained")
    axes = figure.add_subplot()
    for place, row in enumerate(shown):
        assert row.judged is not None
        share = _share(row, row.judged)
        axes.barh(place, min(share, _MAX_BAR), color=_colour(row), height=0.55)
        if row.stretch is not None and row.target:
            axes.plot([_share(row, row.stretch)] * 2, [place - 0.4, place + 0.4], color=_MARK, linewidth=1.5, ls=":")
        axes.text(_MAX_BAR + 0.05, place, _label(row), va="center", fontsize=9)
    axes.axvline(1.0, color=_MARK, linewidth=1.5)
    axes.set_yticks(range(len(shown)), [f"{row.scenario}\n{row.figure}" for row in shown], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, _MAX_BAR + 1.3)
    axes.set_xticks([0, 0.5, 1, 1.5, 2], ["0", "0.5", "target", "1.5 x", "2 x"])
    figure.supxlabel(
        "share of what the target allows: shorter is better; dotted: stretch\n"
        "green: stretch reached, blue: target reached, red: missed, grey: not valid",
        fontsize=9,
    )
    figure.suptitle(caption, fontsize=10)
    write_png(figure, path)


def write_png(figure: Figure, path: Path) -> None:
    """Replaces `path` in one step."""
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)


def _colour(row: Row) -> str:
    if row.met is None:
        return _INVALID
    return _MISSED if not row.met else _STRETCH if row.met_stretch else _MET


def _share(row: Row, value: float) -> float:
    """1 where `value` is just the target; below where it is better."""
    if not row.target:  # the target is none at all: any is too many
        return 0.0 if value <= 0 else _MAX_BAR
    if row.at_least:
        return row.target / value if value else _MAX_BAR
    return value / row.target


def _label(row: Row) -> str:
    sign = ">=" if row.at_least else "<="
    value = f"{number(row.judged)}{'' if row.ratio is None else ' x'}"
    if row.ratio is None:
        value += f" {row.unit}"
    goal = f"{sign} {number(row.target)}"
    if row.stretch is not None and row.stretch != row.target:
        goal += f", stretch {number(row.stretch)}"
    return f"{value}   ({goal}){'  ' + row.note.split(':')[0] if row.note else ''}"
