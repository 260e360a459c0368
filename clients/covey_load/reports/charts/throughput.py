"""Throughput against latency: what a sweep is made for."""

from __future__ import annotations

from collections.abc import Sequence

from covey_load.measurement import Run
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, GREEN, Picture

_CAPTION = (
    "Each point is a run: how many calls a second were answered, and how long they took. It bears the run's number in "
    "the table where there is room for it. To the right is more work done, below is sooner. Where the line turns "
    "upward the server is full: more load from there on adds waiting and no throughput. A good place to work at is "
    "before that bend."
)


def draw_throughput(runs: Sequence[Run]) -> Picture:
    """Draws a point for each run; lines join those of the closed loop and those of the open one, in the order of their
    loads."""
    figure = canvas.figure(3.4)
    axes = figure.subplots()
    for loop in ("closed", "open"):
        ordered = sorted((run for run in runs if run.load.loop == loop), key=_asked)
        for percentile, colour, marker in (("99", GREEN, "s"), ("50", BLUE, "o")):
            measured = [run for run in ordered if percentile in run.response.percentiles_ms]
            throughputs = [run.calls_per_s for run in measured]
            latencies = [run.response.percentiles_ms[percentile] for run in measured]
            axes.plot(throughputs, latencies, color=colour, marker=marker, label=f"p{percentile}")
    numbers = [
        axes.annotate(
            str(number),
            (run.calls_per_s, run.response.percentiles_ms["50"]),
            (0, -14),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
        for number, run in enumerate(runs, start=1)
        if "50" in run.response.percentiles_ms
    ]
    axes.margins(y=0.15)
    canvas.logarithmic(axes)
    axes.set_ylabel("response time, ms")
    axes.set_xlim(left=0)
    axes.set_xlabel("answered calls/s")
    canvas.plain_numbers(axes.xaxis)
    axes.grid(axis="both")
    canvas.legend_above(figure, axes)
    canvas.thin_out(figure, numbers)
    description = f"Line chart of response times over throughput, of {plural(len(runs), 'run')}."
    return canvas.render(figure, "throughput", description, _CAPTION)


def _asked(run: Run) -> float:
    return run.load.rate_per_s or run.load.concurrency or 0
