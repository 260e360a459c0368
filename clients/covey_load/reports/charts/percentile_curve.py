"""The percentile curve, on an axis that gives each further nine the same room."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import colormaps, colors
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from covey_load.distribution import supports
from covey_load.measurement import Latency, Run
from covey_load.reports import words
from covey_load.reports.charts import selection
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, VERMILION, Picture

_MAX_LINES = 10
_TICKS = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)
_CAPTION = (
    "How long the slowest calls took: at 99, one call in a hundred took longer than the line says; each step to the "
    "right is ten times rarer. The lines end where too few calls were measured to say more. A low line that turns up "
    "steeply is a server that is mostly fast and sometimes stalls."
)
_BOTH = (
    " Where the response line lies above the service line, calls had to wait before they were sent at all: this "
    "is what a test that only times the sent calls leaves out."
)


def draw_percentile_curve(runs: Sequence[Run]) -> Picture:
    """Draws the response and the service time of a single run, or the response times of several."""
    figure = canvas.figure(3.4)
    axes = figure.subplots()
    if len(runs) == 1:
        _line(axes, runs[0].response, BLUE, "response time")
        _line(axes, runs[0].service, VERMILION, "service time", dashes="--")
        note = _BOTH
    else:
        shown = selection.choose([*zip(words.numbered_names(runs), runs, strict=True)], _MAX_LINES)
        for (name, run), colour in zip(shown, _colours(len(shown)), strict=True):
            _line(axes, run.response, colour, name)
        note = selection.left_out(runs, shown)
    canvas.logarithmic(axes)
    axes.set_ylabel("ms")
    axes.set_xlabel("percentile")
    axes.xaxis.set_major_locator(FixedLocator([_nines(tick) for tick in _TICKS]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda nines, _: f"{100 - 100 * 10**-nines:.6g}"))
    axes.grid(axis="both")
    figure.legend(loc="outside right upper")
    description = f"Line chart of response times by percentile, of {plural(len(runs), 'run')}."
    return canvas.render(figure, "percentiles", description, _CAPTION + note)


def _colours(count: int) -> list[str]:
    """A sequence of colours, dark blue to yellow-green."""
    scale = colormaps[canvas.MAP]
    return [colors.to_hex(scale(0.2 + 0.65 * index / max(count - 1, 1))) for index in range(count)]


def _nines(percentile: float) -> float:
    """The number of nines: 0 for 0, 1 for 90, 2 for 99, 3 for 99.9."""
    return -math.log10(1 - percentile / 100)


def _line(axes: Axes, latency: Latency, colour: str, name: str, dashes: str = "-") -> None:
    points = [(_nines(percentile), ms) for percentile, ms in latency.curve_ms if supports(latency.count, percentile)]
    axes.plot([nines for nines, _ in points], [ms for _, ms in points], color=colour, linestyle=dashes, label=name)
