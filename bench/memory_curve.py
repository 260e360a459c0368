"""Owns the memory of a server over a soak: the curve, what it says, and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from bench.picture import write_png
from bench.rows import Goal, Row, make_row, missing_row

SETTLED = 0.1  # growth counts from this share of the run on


@dataclass
class Curve:
    """Memory over the units of a run, and how many answers were wrong; None: they were not looked at."""

    name: str
    planned: int
    units: list[int] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)
    wrong: int | None = None

    def add(self, unit: int, resident_bytes: int) -> None:
        """What the server holds after `unit` of the run."""
        self.units.append(unit)
        self.resident_mb.append(resident_bytes / 1e6)

    @property
    def settled_mb(self) -> float:
        """The memory once a tenth of the run was over."""
        return next(
            mb for unit, mb in zip(self.units, self.resident_mb, strict=True) if unit >= SETTLED * self.units[-1]
        )

    @property
    def growth_percent(self) -> float:
        """The growth of the memory from there to the end."""
        return 100 * (self.resident_mb[-1] / self.settled_mb - 1)

    def rows(self, growth: Goal) -> list[Row]:
        """The summary of what ran."""
        scenario = f"{self.units[-1]:,} {self.name}"
        note = "" if self.units[-1] >= self.planned else f"ended early, {self.planned:,} were planned"
        figure, none = "failed or wrong answers", Goal(0, 0)
        return [
            make_row(scenario, "memory growth", "%", [self.growth_percent], goal=growth, note=note),
            missing_row(scenario, figure, "answers", none, "not looked at: ended early")
            if self.wrong is None
            else make_row(scenario, figure, "answers", [float(self.wrong)], goal=none),
            make_row(scenario, "resident memory after a tenth", "MB", [self.settled_mb]),
            make_row(scenario, "resident memory at the end", "MB", [self.resident_mb[-1]]),
            make_row(scenario, "largest resident memory seen", "MB", [max(self.resident_mb)]),
        ]


def draw_curves(curves: Sequence[Curve], caption: str, path: Path) -> None:
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
    write_png(figure, path)
