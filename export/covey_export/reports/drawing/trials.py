"""Variants of a training side by side: accuracies over the epochs, gaps, lengths of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from covey_export.trials.trial import Trial
from covey_reports import canvas, places
from covey_reports.canvas import BLUE, VERMILION, Picture
from covey_reports.language import say, sentences

MAX_LINES = canvas.MAX_SERIES  # variants whose curves are drawn, the most accurate ones
_ROW_INCHES = 0.3
_MAX_NAME, _MAX_HALF_NAME = 90, 44  # letters that a legend has room for, in one column and in two


def draw_curves(trials: Sequence[Trial], images: str) -> Picture:
    """Left the accuracy on unseen images over the epochs, right the training loss."""
    made = canvas.figure(3.6)
    left, right = made.subplots(1, 2)
    for place, trial in enumerate(trials[:MAX_LINES]):
        history, epochs = trial.mean_history(), range(1, len(trial.checkpoints[0].history) + 1)
        colour, _, dashes = canvas.series(place)
        name = canvas.shorten(trial.variant.title, _MAX_NAME)
        accuracies = [math.nan if epoch.test_accuracy is None else epoch.test_accuracy for epoch in history]
        marker = "o" if len(history) == 1 or math.isnan(accuracies[0]) else None
        left.plot(epochs, accuracies, dashes, color=colour, label=name, marker=marker)
        right.plot(epochs, [epoch.loss for epoch in history], dashes, color=colour, label=name, marker=marker)
    for axes in (left, right):
        axes.set_xlabel(say("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
    left.set_ylabel(say("accuracy, {images}", images=images))
    right.set_ylabel(say("training loss"))
    canvas.percent(left.yaxis)
    canvas.legend_above(made, left, columns=_legend_columns(trials))
    more = ""
    if len(trials) > MAX_LINES:
        more = say("Of {all} variants the {drawn} best are drawn.", all=len(trials), drawn=MAX_LINES)
    means = (
        "Means over the seeds. Losses of different dropout, augmentation or label smoothing do not compare; "
        "accuracies do."
    )
    return canvas.render(
        made,
        "curves",
        say(
            "Two line charts over the epochs, one line a variant; at the end {ends}",
            ends="; ".join(f"{trial.variant.title}: {trial.accuracy:.2%}" for trial in trials[:MAX_LINES]),
        ),
        sentences(say(means), more),
        {"values": places.values([left, right])},
    )


def draw_gaps(trials: Sequence[Trial], images: str) -> Picture | None:
    """A row for each variant: its accuracy on unseen images and on training images. None where it was not measured."""
    shown = [trial for trial in trials if trial.gap is not None][: 3 * MAX_LINES]
    if not shown:
        return None
    made = canvas.figure(0.9 + _ROW_INCHES * len(shown))
    axes = made.subplots()
    for row, trial in enumerate(shown):
        clean = trial.accuracy + (trial.gap or 0.0)
        axes.plot([trial.accuracy, clean], [row, row], color=canvas.INK, alpha=0.3, linewidth=3)
        axes.plot(trial.accuracies, [row] * len(trial.accuracies), "o", color=BLUE, markersize=5, label=images)
        axes.plot([clean], [row], "s", color=VERMILION, markersize=5, label=say("training images, without dropout"))
    canvas.name_rows(axes, canvas.drawable([trial.variant.title for trial in shown], 48))
    canvas.percent(axes.xaxis)
    axes.grid(axis="x")
    canvas.legend_above(made, axes)
    return canvas.render(
        made,
        "gaps",
        say(
            "Dots for each variant: accuracy on {images} and on training images; the gaps are {gaps}",
            images=images,
            gaps="; ".join(
                say("{name}: {points:.1f} points", name=trial.variant.title, points=(trial.gap or 0) * 100)
                for trial in shown
            ),
        ),
        say(
            "Each seed has its dot; the line goes from their mean to the square, the mean on training images, which "
            "are classified without dropout and augmentation. A long line is a network that knows its training images "
            "by heart."
        ),
    )


def draw_norms(trials: Sequence[Trial]) -> Picture | None:
    """How the length of all weights grows. None where it was not measured."""
    shown = [trial for trial in trials[:MAX_LINES] if not math.isnan(trial.norm)]
    if not shown:
        return None
    made = canvas.figure(3.0)
    axes = made.subplots()
    for place, trial in enumerate(shown):
        norms = [epoch.norm or math.nan for epoch in trial.mean_history()]
        colour, _, dashes = canvas.series(place)
        name = canvas.shorten(trial.variant.title, _MAX_NAME)
        axes.plot(
            range(1, len(norms) + 1),
            norms,
            dashes,
            color=colour,
            label=name,
            marker="o" if len(norms) == 1 else None,
        )
    axes.set_xlabel(say("epoch"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylabel(say("length of the weights"))
    axes.grid(axis="y")
    canvas.legend_above(made, axes, columns=_legend_columns(trials))
    return canvas.render(
        made,
        "norms",
        say(
            "A line chart of the length of all weights: {ends}",
            ends="; ".join(f"{trial.variant.title}: {trial.norm:.1f}" for trial in shown),
        ),
        say("All weights as one vector: the root of the sum of their squares. Weight decay pulls it down."),
        {"values": places.values([axes])},
    )


def _legend_columns(trials: Sequence[Trial]) -> int:
    return 2 if max(len(trial.variant.title) for trial in trials) <= _MAX_HALF_NAME else 1
