"""Training curves: losses and accuracies over the epochs, of one model or of two in the same axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from covey_export.checkpoint import Epoch
from covey_proto.wording import plural
from covey_reports import canvas
from covey_reports.canvas import BLUE, VERMILLION, Picture

_MAX_MARKED = 30  # epochs up to which each one has its marker
_LOGARITHMIC = 30.0  # largest to smallest loss from which the axis is logarithmic
_CAPTION = (
    "On the training images, loss and accuracy are measured while the weights change, with dropout where the network "
    "has it and on augmented images where the recipe augments: they may be worse than on the test images. Label "
    "smoothing makes the training loss larger, too."
)
_TWO_CAPTION = (
    "Compare the accuracies. Losses of different recipes do not compare: label smoothing, for one, changes them."
)


def draw_curves(history: Sequence[Epoch]) -> Picture:
    """Losses on the left, accuracies on the right. `history` has one epoch or more. Where running losses were printed
    they are drawn in place of the epochs' means."""
    made = canvas.figure(3.2)
    left, right = made.subplots(1, 2)
    running = [(place + share, loss) for place, epoch in enumerate(history) for share, loss in epoch.running]
    if running:
        left.plot(*zip(*running, strict=True), color=VERMILLION, linestyle="--", label="training images")
    else:
        _line(left, [epoch.loss for epoch in history], VERMILLION, "training images", "s--")
    test_losses = [epoch.test_loss for epoch in history if epoch.test_loss is not None]
    if len(test_losses) == len(history):  # else the training began before they were measured
        _line(left, test_losses, BLUE, "test images", "o-")
    _line(right, [epoch.train_accuracy for epoch in history], VERMILLION, "training images", "s--")
    _line(right, _test_accuracies(history), BLUE, "test images", "o-")
    _finish(left, right, history)
    canvas.legend_above(made, right)
    first, last = history[0], history[-1]
    return canvas.render(
        made,
        "curves",
        f"Two line charts over {plural(len(history), 'epoch')}. The loss went from {first.loss:.3f} to "
        f"{last.loss:.3f}; the accuracy on the test images {_in_words(history)}; on the training images it ended at "
        f"{last.train_accuracy:.2%}.",
        _CAPTION,
    )


def draw_two_curves(names: tuple[str, str], histories: tuple[Sequence[Epoch], Sequence[Epoch]]) -> Picture:
    """Both models' losses and test accuracies. At least one of them has epochs."""
    made = canvas.figure(3.4)
    left, right = made.subplots(1, 2)
    ends = []
    for name, short, history, colour, line in zip(
        names, canvas.drawable(names, 28), histories, (BLUE, VERMILLION), ("o-", "s--"), strict=True
    ):
        _line(left, [epoch.loss for epoch in history], colour, short, line)
        _line(right, _test_accuracies(history), colour, short, line)
        end = f", loss {history[-1].loss:.3f} and test accuracy {history[-1].test_accuracy or 0:.2%} at the end"
        ends.append(f"{name}: {plural(len(history), 'epoch')}{end if history else ''}")
    _finish(left, right, [epoch for history in histories for epoch in history])
    right.set_ylabel("accuracy on the test images")
    canvas.legend_above(made, right)
    return canvas.render(made, "two-curves", f"Two line charts with both trainings. {'; '.join(ends)}.", _TWO_CAPTION)


def _test_accuracies(history: Sequence[Epoch]) -> list[float]:
    """NaN, of which nothing is drawn, where the test images were not looked at."""
    return [math.nan if epoch.test_accuracy is None else epoch.test_accuracy for epoch in history]


def _in_words(history: Sequence[Epoch]) -> str:
    tested = [(epoch.test_accuracy, place) for place, epoch in enumerate(history, 1) if epoch.test_accuracy is not None]
    if len(tested) < len(history):
        return f"after the last epoch is {tested[-1][0]:.2%}" if tested else "was not measured"
    best, place = max(tested, key=lambda entry: entry[0])
    return f"went from {tested[0][0]:.2%} to {tested[-1][0]:.2%}, at its highest in epoch {place} with {best:.2%}"


def _line(axes: Axes, values: Sequence[float], colour: str, name: str, line: str) -> None:
    """`line` is a marker and dashes, as matplotlib writes them."""
    line = line if len(values) <= _MAX_MARKED else line[1:]
    axes.plot(range(1, len(values) + 1), values, line, color=colour, label=name, markersize=4)


def _finish(left: Axes, right: Axes, epochs: Sequence[Epoch]) -> None:
    losses = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in left.get_lines()])
    low, high = float(losses.min()), float(losses.max())
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.04)
        axes.grid(axis="y")
    if low > 0 and high / low > _LOGARITHMIC:
        canvas.logarithmic(left)
    elif low >= 0:
        left.set_ylim(0, high * 1.08 or 1)
    left.set_ylabel("loss")
    right.set_ylabel("accuracy")
    canvas.percent(right.yaxis)
