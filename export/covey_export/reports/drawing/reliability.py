"""The reliability diagram: how often the model is right where it says that it is right so often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter, StrMethodFormatter, SymmetricalLogLocator

from covey_export.reports.calibration import Calibration
from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import BLUE, INK, ORANGE, VERMILLION, Picture


def draw_reliability(calibration: Calibration) -> Picture:
    """Accuracy over confidence above, how many images have that confidence below."""
    made = canvas.figure(5.2, 5.2)
    above, below = made.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
    bins = calibration.bins
    filled = [part for part in bins if part.accuracy is not None]
    width = 1 / len(bins)
    centres = [(part.low + part.high) / 2 for part in filled]
    shares = np.array([part.accuracy for part in filled])
    confidences = np.array([part.confidence for part in filled])
    above.bar(centres, shares, width=width * 0.94, color=BLUE, label="accuracy")
    above.bar(
        centres,
        np.abs(confidences - shares),
        bottom=np.minimum(confidences, shares),
        width=width * 0.94,
        facecolor="none",
        edgecolor=ORANGE,
        hatch="////",
        linewidth=1,
        label="gap to the mean confidence",
    )
    _diagonal(above)
    above.set_ylabel("accuracy")
    above.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.2, handlelength=1.6)
    below.bar([(part.low + part.high) / 2 for part in bins], [part.images for part in bins], width * 0.94, color=BLUE)
    below.set_yscale("symlog", linthresh=1)
    below.set_ylabel("images")
    below.set_xlabel("confidence: the probability of the predicted class")
    below.xaxis.set_major_formatter(PercentFormatter(1))
    below.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1))
    below.yaxis.get_major_locator().set_params(numticks=4)
    below.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    below.minorticks_off()
    canvas.finish(below)
    images = sum(part.images for part in bins)
    top = bins[-1]
    said = f"{top.images / images:.0%} of the images have a confidence above {top.low:.0%}"
    if top.accuracy is not None:
        said += f", and of these {top.accuracy:.1%} are right"
    return canvas.render(
        made,
        "reliability",
        f"Reliability diagram in {len(bins)} bins with the number of images of each. "
        f"Expected calibration error {calibration.error:.2%}; {said}.",
    )


def draw_two_reliabilities(names: tuple[str, str], calibrations: Sequence[Calibration]) -> Picture:
    """Both models' accuracy over confidence in the same axes."""
    made = canvas.figure(4.4, 4.8)
    axes = made.subplots()
    for name, calibration, colour, dashes, marker in zip(
        canvas.drawable(names, 28), calibrations, (BLUE, VERMILLION), ("-", "--"), ("o", "D"), strict=True
    ):
        points = [
            (part.confidence, part.accuracy)
            for part in calibration.bins
            if part.accuracy is not None and part.confidence is not None
        ]
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=colour,
            linestyle=dashes,
            marker=marker,
            markersize=5,
            label=f"{name} (ECE {calibration.error:.2%})",
        )
    _diagonal(axes)
    axes.set_xlabel("mean confidence of the bin")
    axes.set_ylabel("accuracy of the bin")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=1)
    first, second = calibrations
    return canvas.render(
        made,
        "two-reliabilities",
        f"Reliability diagram of both. Expected calibration error: {names[0]} {first.error:.2%}, "
        f"{names[1]} {second.error:.2%}.",
    )


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linestyle=":", linewidth=1.5, label="perfectly calibrated")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    canvas.finish(axes, grid="both")
