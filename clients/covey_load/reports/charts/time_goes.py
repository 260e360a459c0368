"""Where the time of a call goes: its stages, stacked."""

from __future__ import annotations

from collections.abc import Sequence

from covey_load.measurement import Run
from covey_load.reports import words
from covey_load.reports.charts import selection
from covey_load.reports.figures import FIGURES
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, INK, ORANGE, SKY, VERMILION, Picture

_STAGES = (
    ("lag_mean_ms", "late to be sent", INK),
    ("outside_ms", "outside the server", SKY),
    ("decode_ms", "decode", ORANGE),
    ("queue_ms", "queue", VERMILION),
    ("compute_ms", "compute", BLUE),
)
_CAPTION = (
    "How the mean response time of each run, written at its bar's end, is divided, in the order of a call's way. Late: "
    "it was due but not yet sent. Outside: network, kernel, the client's own work. Queue: it waited inside the server "
    "for its batch to begin. The longest part is what limits; a queue that grows with the load means that the server "
    "computes as much as it can."
)
_ROW_INCHES = 0.32
_MAX_BARS = 24


def draw_time_goes(runs: Sequence[Run]) -> Picture:
    """Draws a bar for each run whose answers tell the server's part."""
    named = [(name, run) for name, run in zip(words.numbered_names(runs), runs, strict=True) if run.timing]
    shown = selection.choose(named, _MAX_BARS)
    figure = canvas.figure(1.1 + _ROW_INCHES * len(shown))
    axes = figure.subplots()
    rows = range(len(shown))
    parts = [[FIGURES[name].value(run) or 0.0 for name, _, _ in _STAGES] for _, run in shown]
    totals = [sum(lengths) for lengths in parts]
    ends = [0.0] * len(shown)
    for index, (_, title, colour) in enumerate(_STAGES):
        shares = [lengths[index] / (total or 1) for lengths, total in zip(parts, totals, strict=True)]
        axes.barh(rows, shares, left=ends, color=colour, label=title, height=0.7)
        ends = [end + share for end, share in zip(ends, shares, strict=True)]
    for row, total in zip(rows, totals, strict=True):
        axes.annotate(f" {words.number(total)} ms", (1, row), va="center", fontsize=9)
    canvas.name_rows(axes, [name for name, _ in shown])
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    canvas.percent(axes.xaxis)
    axes.set_xlabel("share of the mean response time")
    axes.grid(axis="x")
    canvas.legend_above(figure, axes)
    description = f"Bar chart of how the mean response time divides into stages, of {plural(len(shown), 'run')}."
    return canvas.render(figure, "time-goes", description, _CAPTION + selection.left_out(named, shown))
