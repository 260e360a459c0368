"""How accuracy falls as images are made worse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covey_reports import canvas, places
from covey_reports.canvas import BLUE, GREEN, ORANGE, VERMILION, Picture
from covey_reports.language import say

_LINES = (("o-", BLUE), ("s--", VERMILION), ("^-", GREEN), ("D--", ORANGE))


def draw_robustness(accuracy: float, worse: Mapping[str, Sequence[float]]) -> Picture:
    """One line a kind of change; strength 0 is the images as they are."""
    made = canvas.figure(3.2)
    axes = made.subplots()
    for (kind, accuracies), (line, colour) in zip(worse.items(), _LINES, strict=False):
        axes.plot(
            range(len(accuracies) + 1), [accuracy, *accuracies], line, color=colour, label=say(kind), markersize=4
        )
    axes.set_xticks(range(len(next(iter(worse.values()))) + 1))
    axes.set_xlabel(say("strength"))
    axes.set_ylabel(say("accuracy"))
    axes.set_ylim(0, 1.02)
    canvas.percent(axes.yaxis)
    axes.grid(axis="y")
    canvas.legend_above(made, axes)
    ends = "; ".join(f"{say(kind)}: {accuracies[-1]:.1%}" for kind, accuracies in worse.items())
    return canvas.render(
        made,
        "robustness",
        say(
            "A line chart: the accuracy is {accuracy:.1%} on unchanged images, and at the greatest strength {ends}.",
            accuracy=accuracy,
            ends=ends,
        ),
        say("Accuracy on the same test images, made worse by four kinds of change at three strengths."),
        {"values": places.values([axes])},
    )
