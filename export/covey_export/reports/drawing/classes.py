"""Accuracy class by class: bars for one model, pairs of dots for two; the weakest and the distribution where
there are too many classes for a row each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import BLUE, INK, VERMILLION, Picture
from covey_export.reports.findings import Findings

MAX_ROWS = 40
_FEW_ROWS = 20  # of the weakest classes, where not all have a row


def draw_class_accuracy(findings: Findings) -> Picture:
    """For findings with at least one class that has test images."""
    known = [
        (place, share, findings.class_images[place])
        for place, share in enumerate(findings.class_accuracy)
        if share is not None
    ]
    are_all = len(findings.labels) <= MAX_ROWS
    weakest = sorted(known, key=lambda entry: (entry[1], entry[0]))
    rows = range(len(findings.labels)) if are_all else [place for place, _, _ in weakest[:_FEW_ROWS]]
    names = canvas.drawable(findings.labels, 26)
    made = canvas.figure(0.7 + 0.27 * len(rows) + (0 if are_all else 2.2))
    if are_all:
        axes, spread = made.subplots(), None
    else:
        axes, spread = made.subplots(2, 1, height_ratios=[0.27 * len(rows), 1.8])
    places = np.arange(len(rows))[::-1]
    shares = [findings.class_accuracy[row] for row in rows]
    axes.barh(places, [share or 0.0 for share in shares], color=BLUE, height=0.7)
    axes.set_yticks(places, [names[row] for row in rows])
    for place, share in zip(places, shares, strict=True):
        text = "no test images" if share is None else f"{share:.1%}"
        axes.annotate(text, (1, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9, color=INK)
    axes.axvline(findings.accuracy, color=VERMILLION, linestyle="--", linewidth=1.5)
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.tick_params(axis="y", length=0)
    which = "" if are_all else f", the {len(rows)} weakest of {len(findings.labels):,} classes"
    axes.set_xlabel(f"accuracy{which} (dashed: all test images, {findings.accuracy:.2%})")
    canvas.finish(axes, grid="x")
    if spread is not None:
        spread.hist([share for _, share, _ in known], bins=np.linspace(0, 1, 21).tolist(), color=BLUE, rwidth=0.92)
        spread.set_xlabel("accuracy, all classes")
        spread.set_ylabel("classes")
        spread.xaxis.set_major_formatter(PercentFormatter(1))
        spread.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        canvas.finish(spread)
    (low, lowest, _), (high, highest, _) = weakest[0], weakest[-1]
    return canvas.render(
        made,
        "classes",
        f"Bar chart of the accuracy by class. Lowest: {findings.labels[low]} with {lowest:.1%}; "
        f"highest: {findings.labels[high]} with {highest:.1%}; all test images: {findings.accuracy:.2%}.",
    )


def draw_two_class_accuracies(names: tuple[str, str], rows: Sequence[tuple[str, float, float]]) -> Picture:
    """A row for each (label, first's accuracy, second's), in the order given; at least one, at most MAX_ROWS."""
    made = canvas.figure(1.0 + 0.27 * len(rows))
    axes = made.subplots()
    places = np.arange(len(rows))[::-1]
    first, second = [row[1] for row in rows], [row[2] for row in rows]
    axes.hlines(places, np.minimum(first, second), np.maximum(first, second), color=INK, alpha=0.4, linewidth=2)
    axes.plot(first, places, linestyle="", marker="o", markersize=7, color=BLUE)
    axes.plot(second, places, linestyle="", marker="D", markersize=6, color=VERMILLION)
    axes.set_yticks(places, canvas.drawable(tuple(row[0] for row in rows), 26))
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.margins(x=0.06)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy on the class's test images")
    canvas.finish(axes, grid="x")
    short = canvas.drawable(names, 36)
    made.legend(
        handles=[
            Line2D([], [], linestyle="", marker="o", markersize=7, color=BLUE, label=short[0]),
            Line2D([], [], linestyle="", marker="D", markersize=6, color=VERMILLION, label=short[1]),
        ],
        loc="outside upper center",
        ncols=2,
    )
    changes = [b - a for a, b in zip(first, second, strict=True)]
    gained, lost = sum(change > 0 for change in changes), sum(change < 0 for change in changes)
    return canvas.render(
        made,
        "two-classes",
        f"Two dots for each of {len(rows)} classes, the accuracy of {names[0]} and of {names[1]}: the second is "
        f"better in {gained}, worse in {lost}.",
    )
