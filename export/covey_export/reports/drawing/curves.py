"""Training curves: losses and accuracies over the epochs, of one model or of several in the same charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from covey_export.checkpoint import Epoch
from covey_reports import canvas, places
from covey_reports.canvas import BLUE, VERMILION, Picture
from covey_reports.language import counted, say, sentences

_MAX_MARKED = 30  # epochs up to which each one has its marker
_LOGARITHMIC = 30.0  # largest to smallest loss from which the axis is logarithmic
_CAPTION = (
    "On the training images, loss and accuracy are measured while the weights change, with dropout where the network "
    "has it and on augmented images where the recipe augments: they may be worse than on the test images. Label "
    "smoothing makes the training loss larger, too."
)
_TRAINING, _TEST = "training images", "test images"
_COMPARED_CAPTION = (
    "Compare the accuracies. Losses of different recipes do not compare: label smoothing, for one, changes them."
)


def draw_curves(history: Sequence[Epoch]) -> tuple[Picture, Picture]:
    """The losses and the accuracies. `history` has one epoch or more. Where losses within epochs were kept they are
    drawn in place of the epochs' means."""
    losses, accuracies = _charts()
    training, test = say(_TRAINING), say(_TEST)
    running = [(place + share, loss) for place, epoch in enumerate(history) for share, loss in epoch.running]
    if running:
        losses.plot(*zip(*running, strict=True), color=VERMILION, linestyle="--", label=training)
    else:
        _line(losses, [epoch.loss for epoch in history], VERMILION, training, "s--")
    test_losses = [epoch.test_loss for epoch in history if epoch.test_loss is not None]
    if len(test_losses) == len(history):  # else the training began before they were measured
        _line(losses, test_losses, BLUE, test, "o-")
    _line(accuracies, [epoch.train_accuracy for epoch in history], VERMILION, training, "s--")
    _line(accuracies, _test_accuracies(history), BLUE, test, "o-")
    first, last = history[0], history[-1]
    ended = say("On the test images it ended at {loss:.3f}.", loss=last.test_loss) if last.test_loss is not None else ""
    epochs = counted(len(history), "epoch")
    return (
        _finish(
            losses,
            "losses",
            sentences(
                say(
                    "A line chart of the loss over {epochs}. On the training images it went from {first:.3f} to "
                    "{last:.3f}.",
                    epochs=epochs,
                    first=first.loss,
                    last=last.loss,
                ),
                ended,
            ),
            say(_CAPTION),
        ),
        _finish(
            accuracies,
            "accuracies",
            say(
                "A line chart of the accuracy over {epochs}. On the test images it {went}; on the training images it "
                "ended at {accuracy:.2%}.",
                epochs=epochs,
                went=_in_words(history),
                accuracy=last.train_accuracy,
            ),
            say(_CAPTION),
        ),
    )


def draw_compared_curves(names: Sequence[str], histories: Sequence[Sequence[Epoch]]) -> tuple[Picture, Picture]:
    """The models' training losses, and their test accuracies. At least one of them has epochs."""
    losses, accuracies = _charts()
    ends = []
    for place, (name, short, history) in enumerate(zip(names, canvas.drawable(names, 40), histories, strict=True)):
        colour, marker, dashes = canvas.series(place)
        _line(losses, [epoch.loss for epoch in history], colour, short, marker + dashes)
        _line(accuracies, _test_accuracies(history), colour, short, marker + dashes)
        epochs = counted(len(history), "epoch")
        ends.append(f"{name}: {epochs}")
        if history:
            ends[-1] = say(
                "{name}: {epochs}, loss {loss:.3f} and test accuracy {accuracy:.2%} at the end",
                name=name,
                epochs=epochs,
                loss=history[-1].loss,
                accuracy=history[-1].test_accuracy or 0,
            )
    losses.set_ylabel(say("training loss"))
    accuracies.set_ylabel(say("accuracy on the test images"))
    described: dict[str, object] = {"count": len(names), "ends": "; ".join(ends)}
    return (
        _finish(
            losses,
            "compared-losses",
            say("A line chart of the training losses of {count} trainings. {ends}.", **described),
            say(_COMPARED_CAPTION),
        ),
        _finish(
            accuracies,
            "compared-accuracies",
            say("A line chart of the test accuracies of {count} trainings. {ends}.", **described),
            say(_COMPARED_CAPTION),
        ),
    )


def _charts() -> tuple[Axes, Axes]:
    """Of losses and of accuracies, each a figure of its own: narrow screens show them one below the other."""
    losses, accuracies = (canvas.figure(3.2, canvas.HALF_INCHES).subplots() for _ in range(2))
    losses.set_ylabel(say("loss"))
    accuracies.set_ylabel(say("accuracy"))
    canvas.percent(accuracies.yaxis)
    return losses, accuracies


def _test_accuracies(history: Sequence[Epoch]) -> list[float]:
    """NaN, of which nothing is drawn, where the test images were not looked at."""
    return [math.nan if epoch.test_accuracy is None else epoch.test_accuracy for epoch in history]


def _in_words(history: Sequence[Epoch]) -> str:
    tested = [(epoch.test_accuracy, place) for place, epoch in enumerate(history, 1) if epoch.test_accuracy is not None]
    if len(tested) < len(history):
        return (
            say("after the last epoch is {accuracy:.2%}", accuracy=tested[-1][0]) if tested else say("was not measured")
        )
    best, place = max(tested, key=lambda entry: entry[0])
    return say(
        "went from {first:.2%} to {last:.2%}, at its highest in epoch {epoch} with {best:.2%}",
        first=tested[0][0],
        last=tested[-1][0],
        epoch=place,
        best=best,
    )


def _line(axes: Axes, values: Sequence[float], colour: str, name: str, line: str) -> None:
    """`line` is a marker and dashes, as matplotlib writes them."""
    line = line if len(values) <= _MAX_MARKED else line[1:]
    axes.plot(range(1, len(values) + 1), values, line, color=colour, label=name, markersize=4)


def _finish(axes: Axes, name: str, description: str, caption: str) -> Picture:
    axes.set_xlabel(say("epoch"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.04)
    axes.grid(axis="y")
    if name.endswith("losses"):
        values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.get_lines()])
        low, high = float(values.min()), float(values.max())
        if low > 0 and high / low > _LOGARITHMIC:
            canvas.logarithmic(axes)
        elif low >= 0:
            axes.set_ylim(0, high * 1.08 or 1)
    made = axes.get_figure()
    assert isinstance(made, Figure)
    canvas.legend_above(made, axes, columns=1 if name.startswith("compared") else 2)
    return canvas.render(made, name, description, caption, {"values": places.values([axes])})
