"""Which classes are taken for which: a matrix up to a number of classes that can be read, pairs beyond."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import BLUE, INK, Picture
from covey_export.reports.findings import Findings
from covey_proto.wording import plural

MAX_CLASSES = 200  # beyond, a cell of the matrix is less than three pixels
PAIRS = 20

_TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
_MAX_COUNTED = 20  # classes up to which each cell holds its number
_MAX_NAMED = 40  # classes up to which each row holds its name


def draw_confusion(findings: Findings, name: str = "confusion", width_inches: float = canvas.WIDTH_INCHES) -> Picture:
    """The matrix, each row as shares of its class. For at most MAX_CLASSES classes."""
    counts = findings.confusion_matrix()
    classes = len(counts)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    is_named = classes <= _MAX_NAMED
    room = min(width_inches - 1.6, 6.4)
    cell_inches = min(0.52, room / classes)
    side = max(cell_inches * classes, 2.8)
    made = canvas.figure(min(side, width_inches) + 0.6, min(side + 2.2, width_inches))
    axes = made.subplots()
    # By the square root, else a class whose mistakes are few would show none of them.
    image = axes.imshow(shares, cmap=canvas.MAP, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="none")
    axes.spines[:].set_visible(False)
    if is_named:
        names = canvas.drawable(findings.labels, 18)
        size = 9.0 if classes <= 25 else 8.0
        is_short = max(map(len, names)) <= 2
        axes.set_yticks(range(classes), names, fontsize=size)
        axes.set_xticks(
            range(classes),
            names,
            fontsize=size,
            rotation=0 if is_short else 45 if classes <= 20 else 90,
            ha="center" if is_short or classes > 20 else "right",
            rotation_mode=None if is_short or classes > 20 else "anchor",
        )
        axes.tick_params(length=0)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel("predicted class" if is_named else "predicted class, by number")
    axes.set_ylabel("true class" if is_named else "true class, by number")
    if classes <= _MAX_COUNTED:
        size = 8.0 if counts.max() < 10_000 else 6.5
        for row, column in np.argwhere(counts > 0).tolist():
            colour = "black" if shares[row, column] > 0.36 else "white"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=size)
    bar = made.colorbar(image, ax=axes, fraction=0.04, pad=0.03, format=PercentFormatter(1, decimals=0), ticks=_TICKS)
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return canvas.render(made, name, _describe(findings, "Confusion matrix"))


def draw_confused_pairs(findings: Findings) -> Picture:
    """The most frequent mistakes as bars. For findings with at least one mistake."""
    pairs = findings.confused_pairs()[:PAIRS]
    names = canvas.drawable(findings.labels, 26)
    made = canvas.figure(0.7 + 0.26 * len(pairs))
    axes = made.subplots()
    places = np.arange(len(pairs))[::-1]
    numbers = [images for _, _, images in pairs]
    axes.barh(places, numbers, color=BLUE, height=0.7)
    axes.set_yticks(places, [f"{names[true]} → {names[predicted]}" for true, predicted, _ in pairs])
    for place, images in zip(places, numbers, strict=True):
        axes.annotate(
            str(images), (images, place), xytext=(4, 0), textcoords="offset points", va="center", color=INK, fontsize=9
        )
    axes.margins(x=0.08, y=0.02)
    axes.set_xlabel("test images (true class → predicted class)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(axis="y", length=0)
    canvas.finish(axes, grid="x")
    return canvas.render(made, "pairs", _describe(findings, "Bar chart of the most confused pairs of classes"))


def _describe(findings: Findings, what: str) -> str:
    pairs = findings.confused_pairs()[:3]
    wrong = len(findings.mistakes)
    classes, tested = plural(len(findings.labels), "class", "classes"), plural(findings.test_images, "test image")
    if not pairs:
        return f"{what} of {classes}: no mistakes on {tested}."
    said = ", ".join(
        f"{findings.labels[true]} taken for {findings.labels[predicted]} ({images})"
        for true, predicted, images in pairs
    )
    return f"{what} of {classes}: {plural(wrong, 'mistake')} on {tested}. Most frequent: {said}."
