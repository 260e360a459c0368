"""Why a training's curves look as they do, in sentences; only where the numbers say so."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from covey_export.checkpoint import Epoch
from covey_reports.language import say

MIN_EPOCHS = 3  # of which something can be said
_RISE = 1.1  # of the loss on unseen images, from its lowest on
_GAP = 0.05  # between training and unseen images
_STILL_FALLS = 0.02  # of the loss, in the last epoch
_LOW = 0.9  # accuracy on training images
_JUMP, _MIN_JUMP = 1.3, 0.1  # of the training loss from one epoch to the next: as a factor, and as a difference


def diagnose(history: Sequence[Epoch], classes: int) -> list[str]:
    """What the curves show, worst first. `history` is of one training of so many classes."""
    return list(_find(history, classes)) if len(history) >= MIN_EPOCHS else []


def _find(history: Sequence[Epoch], classes: int) -> Iterator[str]:
    first, last = history[0], history[-1]
    chance = math.log(classes)
    known = last.train_accuracy if last.clean_accuracy is None else last.clean_accuracy
    if last.loss > 0.95 * chance and known < 2 / classes:  # label smoothing alone can keep the loss as high
        yield say(
            "It has learned nothing: the loss ends at {loss:.3f}, and ln({classes}) = {chance:.3f} is that of an "
            "answer that knows nothing. Try a tenth of the learning rate, then ten times of it.",
            loss=last.loss,
            classes=classes,
            chance=chance,
        )
        return
    jumps = [
        place
        for place in range(1, len(history))
        if history[place].loss > max(_JUMP * history[place - 1].loss, history[place - 1].loss + _MIN_JUMP)
    ]
    if jumps:
        yield say(
            "The learning rate may be too high: in epoch {epoch} the training loss rose from {before:.3f} to "
            "{after:.3f}. Try half of it.",
            epoch=jumps[0] + 1,
            before=history[jumps[0] - 1].loss,
            after=history[jumps[0]].loss,
        )
    losses = [epoch.test_loss for epoch in history if epoch.test_loss is not None]
    if last.test_accuracy is not None and known - last.test_accuracy > _GAP:
        rises = ""
        if len(losses) == len(history) and losses[-1] > _RISE * min(losses):
            rises = say(
                ", and the loss on unseen images has risen from {lowest:.3f} (epoch {epoch}) to {last:.3f}",
                lowest=min(losses),
                epoch=losses.index(min(losses)) + 1,
                last=losses[-1],
            )
        yield say(
            "It overfits: {known:.1%} on its training images, {unseen:.1%} on unseen ones{rises}. Try dropout, weight "
            "decay, augmentation, or more images.",
            known=known,
            unseen=last.test_accuracy,
            rises=rises,
        )
    elif known < _LOW and first.loss > last.loss and history[-2].loss - last.loss > _STILL_FALLS * last.loss:
        yield say(
            "It is not done: {known:.1%} on its own training images, and the last epoch still took {share:.0%} off the "
            "loss. Try more epochs, a higher learning rate, or a larger network.",
            known=known,
            share=(history[-2].loss - last.loss) / history[-2].loss,
        )
