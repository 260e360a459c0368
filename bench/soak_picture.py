"""Owns the picture of a soak: memory over the run, one panel per kind of strain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter


class Strain(Protocol):
    """What is drawn: memory by what had run."""

    name: str
    units: list[int]
    resident_mb: list[float]

    @property
    def settled_mb(self) -> float: ...
    @property
    def growth_percent(self) -> float: ...


def draw_curves(curves: Sequence[Strain], caption: str, path: Path) -> None:
    """Draws resident memory from zero up, so that growth looks as large as it is; the dashed line is the memory that
    growth is counted from. Replaces `path` in one step."""
    figure = Figure(figsize=(6 * len(curves), 4), layout="constrained")
    for axes, curve in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves, strict=True):
        axes.plot(curve.units, curve.resident_mb, color="#0072B2")
        axes.axhline(curve.settled_mb, color="#D55E00", linewidth=1, linestyle="--")
        axes.set_title(f"{curve.units[-1]:,} {curve.name}: {curve.growth_percent:+.1f} % since the first tenth")
        axes.set_ylim(0, 1.25 * max(curve.resident_mb))
        axes.set_xlabel(curve.name)
        axes.set_ylabel("resident memory, MB")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.suptitle(caption, fontsize=10)
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)
