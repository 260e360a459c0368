"""The search for the capacity: each rate that was tried, and how many of its calls were within the bound."""

from __future__ import annotations

from matplotlib.ticker import PercentFormatter

from covey_load.measurement import Capacity
from covey_load.reports.charts import canvas
from covey_load.reports.charts.canvas import BLUE, INK, VERMILLION, Chart

_CAPTION = (
    "Each mark is a rate that was tried, with Poisson arrivals. On or above the line enough calls were answered within "
    "the bound; a call that failed or was refused was not. The capacity is the circle furthest to the right."
)


def draw_capacity(found: Capacity) -> Chart:
    """Of a search that tried one rate or more."""
    made = canvas.figure(2.8)
    axes = made.subplots()
    for holds, title, colour, marker in ((True, "held", BLUE, "o"), (False, "did not hold", VERMILLION, "x")):
        points = [(rate, share) for rate, share in found.tried if (share >= found.share) is holds]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=title)
    axes.axhline(found.share, color=INK, linewidth=0.8, linestyle="--")
    axes.set_xlabel("calls/s asked for")
    axes.set_ylabel(f"within {found.slo_ms:g} ms")
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    canvas.plain_numbers(axes.xaxis)
    axes.grid(axis="both")
    axes.legend(loc="lower left")
    return canvas.render(made, "capacity", _CAPTION)
