"""Throughput against latency: what a sweep is made for."""

from __future__ import annotations

from collections.abc import Sequence

from covey_load.measurement import Run
from covey_load.reports.charts import canvas
from covey_load.reports.charts.canvas import BLUE, GREEN, Chart

_CAPTION = (
    "Each point is a run, with its number in the table: how many calls a second were answered, and how long they took. "
    "To the right is more work done, below is sooner. Where the line turns upward the server is full: more load from "
    "there on adds waiting and no throughput. A good place to work at is before that bend."
)


def draw_throughput(runs: Sequence[Run]) -> Chart:
    """Lines join the runs of a closed loop, and those of an open one, in the order of the load that was asked for."""
    made = canvas.figure(3.4)
    axes = made.subplots()
    for loop in ("closed", "open"):
        ordered = sorted((run for run in runs if run.load.loop == loop), key=_asked)
        for percentile, colour, marker in (("99", GREEN, "s"), ("50", BLUE, "o")):
            known = [run for run in ordered if percentile in run.response.percentiles_ms]
            throughputs = [run.calls_per_s for run in known]
            latencies = [run.response.percentiles_ms[percentile] for run in known]
            axes.plot(throughputs, latencies, color=colour, marker=marker, label=f"p{percentile}")
    for number, run in enumerate(runs, start=1):
        if "50" in run.response.percentiles_ms:
            at = (run.calls_per_s, run.response.percentiles_ms["50"])
            axes.annotate(str(number), at, (0, -14), textcoords="offset points", ha="center", fontsize=9)
    axes.margins(y=0.15)
    canvas.logarithmic_times(axes, "response time, ms")
    axes.set_xlim(left=0)
    axes.set_xlabel("answered calls/s")
    canvas.plain_numbers(axes.xaxis)
    axes.grid(axis="both")
    axes.legend(*canvas.legend_entries(axes), loc="upper left")
    return canvas.render(made, "throughput", _CAPTION)


def _asked(run: Run) -> float:
    return run.load.rate_per_s or run.load.concurrency or 0
