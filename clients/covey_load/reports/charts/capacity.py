"""The search for the capacity: each rate that was tried, and how many of its calls were within the bound."""

from __future__ import annotations

from covey_load.measurement import Capacity
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, INK, VERMILION, Picture

_CAPTION = (
    "Each mark is a rate that was tried, with Poisson arrivals. On or above the line enough calls were answered within "
    "the bound; a call that failed or was refused was not. The capacity is the circle furthest to the right."
)


def draw_capacity(capacity: Capacity) -> Picture:
    """Draws a search that tried at least one rate."""
    figure = canvas.figure(2.8)
    axes = figure.subplots()
    for holds, title, colour, marker in ((True, "held", BLUE, "o"), (False, "did not hold", VERMILION, "x")):
        points = [(rate, share) for rate, share in capacity.tried if (share >= capacity.share) is holds]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=title)
    axes.axhline(capacity.share, color=INK, linewidth=0.8, linestyle="--")
    axes.set_xlabel("calls/s asked for")
    axes.set_ylabel(f"within {capacity.slo_ms:g} ms")
    axes.set_xlim(left=0)
    canvas.percent(axes.yaxis)
    canvas.plain_numbers(axes.xaxis)
    axes.grid(axis="both")
    axes.legend(loc="lower left")
    description = (
        f"Scatter chart of {plural(len(capacity.tried), 'rate')}, each with its share of calls within the bound."
    )
    return canvas.render(figure, "capacity", description, _CAPTION)
