"""Training curves: loss and accuracies over the epochs, of one model or of two in the same axes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, PercentFormatter

from covey_export.checkpoint import Epoch
from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import BLUE, VERMILLION, Picture
from covey_proto.wording import plural

_MAX_MARKED = 30  # epochs up to which each one has its marker
_LOGARITHMIC = 30.0  # largest to smallest loss from which the axis is logarithmic


def draw_curves(history: Sequence[Epoch]) -> Picture:
    """Losses on the left, accuracies on the right. `history` has one epoch or more. Where running losses were printed
    they are drawn in place of the epochs' means."""
    made = canvas.figure(3.2)
    left, right = made.subplots(1, 2)
    running = [(place + share, loss) for place, epoch in enumerate(history) for share, loss in epoch.running]
    if running:
        left.plot(*zip(*running, strict=True), color=VERMILLION, linestyle="--", label="training images")
    else:
        _line(left, [epoch.loss for epoch in history], VERMILLION, "training images", dashes="--", marker="s")
    test_losses = [epoch.test_loss for epoch in history if epoch.test_loss is not None]
    if len(test_losses) == len(history):  # else the training began before they were measured
        _line(left, test_losses, BLUE, "test images")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    _line(right, [epoch.train_accuracy for epoch in history], VERMILLION, "training images", dashes="--", marker="s")
    _line(right, [epoch.test_accuracy for epoch in history], BLUE, "test images")
    _name_axes(left, right, history)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    last = history[-1]
    best = max(range(len(history)), key=lambda place: history[place].test_accuracy)
    return canvas.render(
        made,
        "curves",
        f"Two line charts over {plural(len(history), 'epoch')}. The loss went from {history[0].loss:.3f} to "
        f"{last.loss:.3f}; "
        f"the accuracy on the test images from {history[0].test_accuracy:.2%} to {last.test_accuracy:.2%}, "
        f"at its highest in epoch {best + 1} with {history[best].test_accuracy:.2%}; on the training images it ended "
        f"at {last.train_accuracy:.2%}.",
    )


def draw_two_curves(names: tuple[str, str], histories: tuple[Sequence[Epoch], Sequence[Epoch]]) -> Picture:
    """Both models' losses and test accuracies. At least one of them has epochs."""
    made = canvas.figure(3.4)
    left, right = made.subplots(1, 2)
    for name, history, colour, dashes, marker in zip(
        canvas.drawable(names, 28), histories, (BLUE, VERMILLION), ("-", "--"), ("o", "s"), strict=True
    ):
        if history:
            _line(left, [epoch.loss for epoch in history], colour, name, dashes=dashes, marker=marker)
            _line(right, [epoch.test_accuracy for epoch in history], colour, name, dashes=dashes, marker=marker)
    every = [epoch for history in histories for epoch in history]
    _name_axes(left, right, every)
    right.set_ylabel("accuracy on the test images")
    made.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    said = "; ".join(
        f"{name}: {plural(len(history), 'epoch')}, loss {history[-1].loss:.3f} and test accuracy "
        f"{history[-1].test_accuracy:.2%} at the end"
        if history
        else f"{name}: no epochs"
        for name, history in zip(names, histories, strict=True)
    )
    return canvas.render(made, "two-curves", f"Two line charts with both trainings. {said}.")


def _line(axes: Axes, values: list[float], colour: str, name: str, dashes: str = "-", marker: str = "o") -> None:
    is_marked = len(values) <= _MAX_MARKED
    axes.plot(
        range(1, len(values) + 1),
        values,
        color=colour,
        linestyle=dashes,
        label=name,
        marker=marker if is_marked else "",
        markersize=4,
    )


def _plain_number(value: float, _: object) -> str:
    return f"{value:g}"


def _name_axes(left: Axes, right: Axes, epochs: Sequence[Epoch]) -> None:
    losses = [epoch.loss for epoch in epochs]
    losses += [loss for epoch in epochs for _, loss in epoch.running]
    losses += [epoch.test_loss for epoch in epochs if epoch.test_loss is not None]
    if min(losses) > 0 and max(losses) / min(losses) > _LOGARITHMIC:
        left.set_yscale("log")
        # Matplotlib's own labels are formulas, which are drawn as they are written where text.parse_math is off.
        left.yaxis.set_major_formatter(FuncFormatter(_plain_number))
        left.yaxis.set_minor_formatter(NullFormatter())
    elif min(losses) >= 0:
        left.set_ylim(0, max(losses) * 1.08 or 1)
    left.set_ylabel("loss")
    right.set_ylabel("accuracy")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(x=0.04)
        canvas.finish(axes)
