"""Latency over time: percentiles of each second, the runs one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from covey_load.measurement import Interval, Run
from covey_reports import canvas
from covey_reports.canvas import BLUE, GREEN, INK, VERMILION, Picture

_LINES = (("max_ms", "largest", VERMILION), ("p99_ms", "p99", GREEN), ("p50_ms", "p50", BLUE))
_GAP_S = 0.5  # between two runs
_MAX_MARKED = 120  # seconds up to which each has its marker
_CAPTION = (
    "Response times of each second, counted from the moment its calls were meant to be sent. Level lines are a steady "
    "server. A hill in all three is a pause that every call felt; one of the largest alone met few calls. Lines that "
    "rise to the end of a run mean that work piles up: the server gets more than it can do. A cross at the bottom "
    "marks a second in which calls failed."
)
_NUMBERS = " The numbers at the top are those of the runs in the table."


def draw_over_time(runs: Sequence[Run]) -> Picture:
    """Draws the runs one after the other; a line breaks where no call of a second was answered."""
    figure = canvas.figure(3.0)
    axes = figure.subplots()
    begin_s = 0.0
    numbers = []
    for index, run in enumerate(runs):
        _draw_run(axes, run.intervals, begin_s)
        if len(runs) > 1:
            axes.axvline(begin_s, color=INK, linewidth=0.8, alpha=0.4)
            at_top = axes.get_xaxis_transform()
            numbers.append(axes.text(begin_s, 1, f" {index + 1}", transform=at_top, va="top"))
        begin_s += max((interval.start_s + 1 for interval in run.intervals), default=1) + _GAP_S
    canvas.logarithmic(axes)
    axes.set_ylabel("response time, ms")
    axes.set_xlim(0, begin_s - _GAP_S)
    axes.set_xlabel("time, s (warm-ups left out)")
    axes.grid(axis="y")
    canvas.legend_above(figure, axes)
    canvas.thin_out(figure, numbers)
    description = "Line chart over time: median, 99th percentile and largest response time of each second."
    return canvas.render(figure, "over-time", description, _CAPTION + (_NUMBERS if len(runs) > 1 else ""))


def _draw_run(axes: Axes, intervals: Sequence[Interval], begin_s: float) -> None:
    def middle_s(interval: Interval) -> float:
        return begin_s + interval.start_s + 0.5

    marker = "." if len(intervals) <= _MAX_MARKED else ""
    times = [middle_s(interval) for interval in intervals]
    for field, title, colour in _LINES:
        values = [getattr(interval, field) for interval in intervals]
        with_gaps = [math.nan if value is None else value for value in values]
        axes.plot(times, with_gaps, color=colour, marker=marker, label=title)
    failed = [middle_s(interval) for interval in intervals if interval.errors]
    if failed:
        at_bottom = axes.get_xaxis_transform()
        heights = [0.02] * len(failed)
        axes.plot(failed, heights, "x", color=VERMILION, transform=at_bottom, label="calls failed")
