"""Owns the picture of a benchmark: CPU time per request of each server, beside the floors it stands on."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bench.measurement import MANY
from bench.rows import Row


def draw_cpu(rows: Sequence[Row], caption: str, path: Path) -> None:
    """Draws every row of CPU time per request as a bar, its floor marked by a line. Replaces `path` in one step."""
    shown = [row for row in rows if row.figure == "server CPU" and row.scenario.endswith(f" {MANY} in flight")]
    figure = Figure(figsize=(9, 1.2 + 0.7 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(shown))
    values = [row.value for row in shown]
    spread = [[row.value - row.low for row in shown], [row.high - row.value for row in shown]]
    axes.barh(places, values, xerr=spread, color="#4c72b0", height=0.6, capsize=3)
    for place, row in zip(places, shown, strict=True):
        label = f" {row.value:.0f} us"
        if row.floor is not None and row.ratio is not None:
            axes.plot([row.floor, row.floor], [place - 0.4, place + 0.4], color="#c44e52", linewidth=2)
            label += f" = {row.ratio:.2f} x floor"
        axes.text(row.high, place, label, va="center")
    axes.set_yticks(places, [row.scenario for row in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.5 * max(row.high for row in shown))
    figure.supxlabel(
        "server CPU per request, us (red: echo + onnxruntime alone; whisker: least and most)", fontsize="medium"
    )
    figure.suptitle(caption, fontsize="medium")
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(path)
