"""The reliability diagram: how often the model is right where it says that it is right so often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter, SymmetricalLogLocator

from covey_export.reports.calibration import Calibration
from covey_reports import canvas, places
from covey_reports.canvas import BLUE, INK, ORANGE, Picture
from covey_reports.language import say

_CAPTION = (
    "Left: where bars end at the dotted line the model is right as often as its probabilities say, below it the model "
    "is too sure of itself. Right: how many images have such a confidence, on a logarithmic axis."
)
_DIAGONAL = "perfectly calibrated"
_CONFIDENCE = "confidence: the probability of the predicted class"


def draw_reliability(calibration: Calibration) -> tuple[Picture, Picture]:
    """Accuracy over confidence, and how many images have that confidence."""
    made, counts = (canvas.figure(4.2, canvas.HALF_INCHES) for _ in range(2))
    axes, counted = made.subplots(), counts.subplots()
    bins = calibration.bins
    width = 0.94 / len(bins)
    points = calibration.points()
    centres = [(part.low + part.high) / 2 for part in bins]
    filled = [centre for centre, part in zip(centres, bins, strict=True) if part.images]
    confidences, shares = np.array(points).T
    axes.bar(filled, shares, width, color=BLUE, label=say("accuracy"))
    axes.bar(
        filled,
        np.abs(confidences - shares),
        width,
        bottom=np.minimum(confidences, shares),
        facecolor="none",
        edgecolor=ORANGE,
        hatch="////",
        label=say("gap to the mean confidence"),
    )
    _finish(axes)
    axes.set_xlabel(say(_CONFIDENCE))
    axes.set_ylabel(say("accuracy"))
    canvas.legend_above(made, axes, columns=2)
    counted.bar(centres, [part.images for part in bins], width, color=BLUE)
    counted.set_xlim(0, 1)
    canvas.percent(counted.xaxis)
    counted.set_yscale("symlog", linthresh=1)
    counted.set_xlabel(say(_CONFIDENCE))
    counted.set_ylabel(say("images"))
    steps = SymmetricalLogLocator(base=10, linthresh=1)
    steps.set_params(numticks=6)
    counted.yaxis.set_major_locator(steps)
    counted.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    counted.minorticks_off()
    counted.grid(axis="y")
    top = bins[-1]
    said = say(
        "{share:.0%} of the images have a confidence above {low:.0%}",
        share=top.images / sum(part.images for part in bins),
        low=top.low,
    )
    if top.accuracy is not None:
        said += say(", and of these {accuracy:.1%} are right", accuracy=top.accuracy)
    return (
        canvas.render(
            made,
            "reliability",
            say(
                "Reliability diagram in {bins} bins. Expected calibration error {error:.2%}.",
                bins=len(bins),
                error=calibration.error,
            ),
            say(_CAPTION),
        ),
        canvas.render(
            counts,
            "confidences",
            say("Bar chart of the number of images in each bin: {said}.", said=said),
            say(_CAPTION),
        ),
    )


def draw_compared_reliabilities(names: Sequence[str], calibrations: Sequence[Calibration]) -> Picture:
    """The models' accuracy over confidence in the same axes."""
    made = canvas.figure(4.0 + 0.2 * len(names), 4.8)
    axes = made.subplots()
    for place, (name, calibration) in enumerate(zip(canvas.drawable(names, 28), calibrations, strict=True)):
        colour, marker, dashes = canvas.series(place)
        label = say("{name} (ECE {error:.2%})", name=name, error=calibration.error)
        axes.plot(*zip(*calibration.points(), strict=True), marker + dashes, color=colour, markersize=5, label=label)
    _finish(axes)
    axes.set_xlabel(say("mean confidence of the bin"))
    axes.set_ylabel(say("accuracy of the bin"))
    canvas.legend_above(made, axes, columns=1)
    errors = ", ".join(f"{name} {each.error:.2%}" for name, each in zip(names, calibrations, strict=True))
    return canvas.render(
        made,
        "compared-reliabilities",
        say(
            "Reliability diagram of {count} models. Expected calibration error: {errors}.",
            count=len(names),
            errors=errors,
        ),
        say(
            "Points on the dotted line are right as often as they say. Expected calibration error (ECE) after Guo et "
            "al. 2017, {bins} bins.",
            bins=len(calibrations[0].bins),
        ),
        {"values": places.values([axes], without=[say(_DIAGONAL)])},
    )


def _finish(axes: Axes) -> None:
    """Both axes from 0 to 100 %, with a line where the two are the same."""
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.5, label=say(_DIAGONAL))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    canvas.percent(axes.xaxis)
    canvas.percent(axes.yaxis)
    axes.grid(axis="both")
