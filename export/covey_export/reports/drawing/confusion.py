"""Which classes are taken for which: a matrix as long as it can be read, else the most frequent pairs."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from covey_export.reports.findings import Findings
from covey_reports import canvas
from covey_reports.canvas import BLUE, Picture
from covey_reports.language import counted, say

MAX_CLASSES = 200  # of a matrix; beyond, a cell is less than three pixels
MAX_PAIRS = 20

_TICKS = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1)
_MAX_COUNTED = 20  # classes up to which each cell holds its number
_MAX_NAMED = 40  # classes up to which each row holds its name
_CAPTION = "Rows are the true classes, columns the predicted ones; the colour is the share of the row."


def draw_confusion(
    findings: Findings,
    name: str = "confusion",
    caption: str = "",
    width_inches: float = canvas.WIDTH_INCHES,
) -> Picture:
    """The matrix, each row as shares of its class. For at most MAX_CLASSES classes."""
    counts = findings.confusion_matrix()
    classes = len(counts)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    side = max(2.8, min(0.52 * classes, width_inches - 1.6, 6.4))
    made = canvas.figure(side + 0.6, min(side + 2.2, width_inches))
    axes = made.subplots()
    # By the square root, else a class whose mistakes are few would show none of them.
    image = axes.imshow(shares, cmap=canvas.MAP, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="none")
    axes.spines[:].set_visible(False)
    if classes <= _MAX_NAMED:
        names = canvas.drawable(findings.labels, 18)
        size = 9.0 if classes <= 25 else 8.0
        axes.set_yticks(range(classes), names, fontsize=size)
        axes.set_xticks(range(classes), names, fontsize=size)
        if max(map(len, names)) > 2:
            if classes <= 20:
                axes.tick_params(axis="x", rotation=45)
                for label in axes.get_xticklabels():
                    label.set(ha="right", rotation_mode="anchor")
            else:
                axes.tick_params(axis="x", rotation=90)
        axes.tick_params(length=0)
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(10, integer=True))
    are_named = classes <= _MAX_NAMED
    axes.set_xlabel(say("predicted class") if are_named else say("predicted class, by number"))
    axes.set_ylabel(say("true class") if are_named else say("true class, by number"))
    if classes <= _MAX_COUNTED:
        size = 8.0 if counts.max() < 10_000 else 6.5
        for row, column in np.argwhere(counts > 0).tolist():
            colour = "black" if shares[row, column] > 0.36 else "white"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=size)
    bar = made.colorbar(image, ax=axes, fraction=0.04, pad=0.03, format=PercentFormatter(1, decimals=0), ticks=_TICKS)
    bar.set_label(say("share of the true class"))
    bar.outline.set_visible(False)
    return canvas.render(
        made,
        name,
        _describe(findings, say("Confusion matrix")),
        caption or say(_CAPTION),
        {"matrix": lambda places: _cells(findings, places.box(axes))},
    )


def _cells(findings: Findings, box: tuple[float, ...]) -> dict[str, object]:
    """What the page's script matrix.js reads."""
    return {"box": box, "labels": findings.labels, "images": findings.class_images, "cells": findings.confusion}


def draw_confused_pairs(findings: Findings) -> Picture:
    """The most frequent mistakes as bars. For findings with at least one mistake."""
    pairs = findings.confused_pairs()[:MAX_PAIRS]
    names = canvas.drawable(findings.labels, 26)
    made = canvas.figure(0.7 + 0.26 * len(pairs))
    axes = made.subplots()
    bars = axes.barh(range(len(pairs)), [images for _, _, images in pairs], color=BLUE, height=0.7)
    axes.bar_label(bars, padding=4, fontsize=9)
    canvas.name_rows(axes, [f"{names[true]} → {names[predicted]}" for true, predicted, _ in pairs])
    axes.margins(x=0.08)
    axes.set_xlabel(say("test images (true class → predicted class)"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x")
    return canvas.render(
        made,
        "pairs",
        _describe(findings, say("Bar chart of the most confused pairs of classes")),
        say("How many images of one class were taken for another."),
    )


def _describe(findings: Findings, what: str) -> str:
    labels = findings.labels
    of: dict[str, object] = {
        "what": what,
        "classes": counted(len(labels), "class", "classes"),
        "tested": counted(findings.test_images, "test image"),
    }
    pairs = findings.confused_pairs()[:3]
    if not pairs:
        return say("{what} of {classes}: no mistakes on {tested}.", **of)
    most = ", ".join(
        say("{truth} taken for {guess} ({images})", truth=labels[true], guess=labels[predicted], images=images)
        for true, predicted, images in pairs
    )
    return say(
        "{what} of {classes}: {mistakes} on {tested}. Most frequent: {most}.",
        **of,
        mistakes=counted(len(findings.mistakes), "mistake"),
        most=most,
    )
