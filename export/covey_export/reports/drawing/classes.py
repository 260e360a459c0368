"""Accuracy class by class: bars for one model, dots for several. Of too many classes for a row each, the weakest and
the distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import MaxNLocator

from covey_export.reports.findings import Findings
from covey_reports import canvas
from covey_reports.canvas import BLUE, INK, VERMILION, Picture
from covey_reports.language import say, sentences

MAX_ROWS = 40
_FEW_ROWS = 20  # of the weakest classes, where not all have a row
_ROW_INCHES = 0.27


def draw_class_accuracy(findings: Findings) -> Picture:
    """For findings with at least one class that has test images."""
    labels, shares = findings.labels, findings.class_accuracy
    known = [(share, place) for place, share in enumerate(shares) if share is not None]
    weakest = sorted(known)
    are_all = len(labels) <= MAX_ROWS
    rows = range(len(labels)) if are_all else [place for _, place in weakest[:_FEW_ROWS]]
    height_inches = 0.7 + _ROW_INCHES * len(rows)
    if are_all:
        made = canvas.figure(height_inches)
        axes = made.subplots()
    else:
        made = canvas.figure(height_inches + 2.2)
        axes, spread = made.subplots(2, 1, height_ratios=[_ROW_INCHES * len(rows), 1.8])
        spread.hist([share for share, _ in known], bins=np.linspace(0, 1, 21).tolist(), color=BLUE, rwidth=0.92)
        spread.set_xlabel(say("accuracy, all classes"))
        spread.set_ylabel(say("classes"))
        canvas.percent(spread.xaxis)
        spread.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        spread.grid(axis="y")
    names = canvas.drawable(labels, 26)
    axes.barh(range(len(rows)), [shares[row] or 0.0 for row in rows], color=BLUE, height=0.7)
    canvas.name_rows(axes, [names[row] for row in rows])
    for place, row in enumerate(rows):
        share = shares[row]
        axes.text(1.02, place, say("no test images") if share is None else f"{share:.1%}", va="center", fontsize=9)
    axes.axvline(findings.accuracy, color=VERMILION, linestyle="--", linewidth=1.5)
    axes.set_xlim(0, 1)
    canvas.percent(axes.xaxis)
    which = say("accuracy")
    if not are_all:
        which = say("accuracy, the {shown} weakest of {all:,} classes", shown=len(rows), all=len(labels))
    axes.set_xlabel(say("{which} (dashed: all test images, {accuracy:.2%})", which=which, accuracy=findings.accuracy))
    axes.grid(axis="x")
    caption = say("The share of each class's test images that got their class.")
    if len(known) < len(labels):
        untested = "Without test images: {count} of {all:,} classes; nothing is known of these."
        caption = sentences(caption, say(untested, count=len(labels) - len(known), all=len(labels)))
    (lowest, low), (highest, high) = weakest[0], weakest[-1]
    return canvas.render(
        made,
        "classes",
        say(
            "Bar chart of the accuracy by class. Lowest: {low} with {lowest:.1%}; highest: {high} with {highest:.1%}; "
            "all test images: {accuracy:.2%}.",
            low=labels[low],
            lowest=lowest,
            high=labels[high],
            highest=highest,
            accuracy=findings.accuracy,
        ),
        caption,
    )


def draw_compared_class_accuracies(
    names: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]], caption: str
) -> Picture:
    """A row for each class and the models' accuracies on it, in the order given; at least one, at most MAX_ROWS."""
    made = canvas.figure(1.0 + _ROW_INCHES * len(rows))
    axes = made.subplots()
    labels = [label for label, _ in rows]
    accuracies = np.array([shares for _, shares in rows])  # [classes, models]
    places = range(len(rows))
    axes.hlines(places, accuracies.min(axis=1), accuracies.max(axis=1), color=INK, alpha=0.4, linewidth=2)
    for place, name in enumerate(canvas.drawable(names, 36)):
        colour, marker, _ = canvas.series(place)
        inside = colour if place < len(canvas.COLOURS) else "none"
        axes.plot(
            accuracies[:, place], places, marker, markersize=6.5, color=colour, label=name, markerfacecolor=inside
        )
    canvas.name_rows(axes, canvas.drawable(labels, 26))
    canvas.percent(axes.xaxis)
    axes.margins(x=0.06)
    axes.set_xlabel(say("accuracy on the class's test images"))
    axes.grid(axis="x")
    canvas.legend_above(made, axes)
    best = np.bincount(accuracies.argmax(axis=1), minlength=len(names))
    told = "; ".join(
        say("{name} is the best in {count}", name=name, count=count)
        for name, count in zip(names, best.tolist(), strict=True)
    )
    return canvas.render(
        made,
        "compared-classes",
        say("A dot of each model for each of {count} classes, its accuracy: {told}.", count=len(rows), told=told),
        caption,
    )
