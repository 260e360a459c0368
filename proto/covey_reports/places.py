"""Where things stand in a finished picture, and what its scripts say of them when they are pointed at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.ticker import PercentFormatter

MAX_POINTS = 400  # of a chart that answer; of more, some spread over all
_POINTS_PER_INCH = 72


@dataclass(frozen=True, slots=True)
class Places:
    """From matplotlib's pixels to the units of the picture's viewBox. `corner`: the picture's upper left, in inches."""

    dpi: float
    corner: tuple[float, float]

    def of(self, axes: Axes, x: float, y: float) -> tuple[float, float]:
        """Of a point in the data of a chart."""
        across, up = axes.transData.transform((x, y)) / self.dpi
        left, top = self.corner
        return round((across - left) * _POINTS_PER_INCH, 1), round((top - up) * _POINTS_PER_INCH, 1)

    def box(self, axes: Axes) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of a chart."""
        (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
        return *self.of(axes, left, high), *self.of(axes, right, low)


Answer = Callable[[Places], Any]  # what becomes JSON


def values(charts: Sequence[Axes], without: Sequence[str] = ()) -> Answer:
    """What hovering over lines shows: for each chart its box, its lines [name, colour], and its points
    [x, words for x, [[line, y, words for y], ...]], from left to right. Lines that have no name, or whose name is in
    `without`, have no values."""
    return lambda places: [_values(axes, places, without) for axes in charts]


def _values(axes: Axes, places: Places, without: Sequence[str]) -> dict[str, Any]:
    named = [(str(line.get_label()), line) for line in axes.get_lines()]
    lines = [(name, line) for name, line in named if not name.startswith("_") and name not in without]
    by_x: dict[float, list[tuple[int, float, str]]] = {}
    for number, (_, line) in enumerate(lines):
        for x, y in np.asarray(line.get_xydata(), np.float64).tolist():
            if np.isfinite((x, y)).all():
                by_x.setdefault(x, []).append((number, places.of(axes, x, y)[1], _in_words(axes.yaxis, y, 4)))
    chosen = sorted(by_x)
    if len(chosen) > MAX_POINTS:
        chosen = [chosen[place] for place in np.linspace(0, len(chosen) - 1, MAX_POINTS).round().astype(int)]
    bottom = axes.get_ylim()[0]
    return {
        "box": places.box(axes),
        "lines": [(name, to_hex(line.get_color())) for name, line in lines],
        "points": [
            (places.of(axes, x, bottom)[0], f"{axes.get_xlabel()} {_in_words(axes.xaxis, x, 2)}", by_x[x])
            for x in chosen
        ],
    }


def _in_words(axis: Axis, value: float, decimals: int) -> str:
    return (
        f"{value:.2%}" if isinstance(axis.get_major_formatter(), PercentFormatter) else f"{round(value, decimals):,.6g}"
    )
