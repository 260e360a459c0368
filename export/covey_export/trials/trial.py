"""The result of a variant: its trainings, and means over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from torch import nn

from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.trials.variants import Variant


@dataclass(frozen=True)
class Trial:
    """One variant, trained once for each seed; there is at least one."""

    variant: Variant
    checkpoints: tuple[Checkpoint, ...]
    network: nn.Module  # as it was built, to be looked at

    def __post_init__(self) -> None:
        if len({len(checkpoint.history) for checkpoint in self.checkpoints}) > 1:
            raise ValueError("this is a bug: trainings of one variant have different numbers of epochs")

    @property
    def parameters(self) -> int:
        """The number of parameters that are learned."""
        return sum(values.numel() for values in self.network.parameters())

    @property
    def accuracies(self) -> list[float]:
        """The accuracy after the last epoch for each seed, on the images that the variant is judged by."""
        return [checkpoint.history[-1].test_accuracy or 0.0 for checkpoint in self.checkpoints]

    @property
    def accuracy(self) -> float:
        """The mean accuracy."""
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the accuracies; None of a single seed."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def gap(self) -> float | None:
        """By how much it is more accurate on its training images, both without dropout and augmentation."""
        clean = [checkpoint.history[-1].clean_accuracy for checkpoint in self.checkpoints]
        measured = [value for value in clean if value is not None]
        return fmean(measured) - self.accuracy if len(measured) == len(clean) else None

    @property
    def norm(self) -> float:
        """The length of all weights as one vector, mean over the seeds; NaN where it was not measured."""
        return fmean(checkpoint.history[-1].norm or math.nan for checkpoint in self.checkpoints)

    @property
    def seconds(self) -> float:
        """The duration of a training, mean over the seeds."""
        return fmean(checkpoint.seconds for checkpoint in self.checkpoints)

    def mean_history(self) -> list[Epoch]:
        """The epochs' figures, each the mean over the seeds."""
        return [_mean(epochs) for epochs in zip(*(checkpoint.history for checkpoint in self.checkpoints), strict=True)]


def _mean(epochs: Sequence[Epoch]) -> Epoch:
    def of(values: Sequence[float | None]) -> float | None:
        measured = [value for value in values if value is not None]
        return fmean(measured) if len(measured) == len(values) else None

    return Epoch(
        loss=fmean(epoch.loss for epoch in epochs),
        train_accuracy=fmean(epoch.train_accuracy for epoch in epochs),
        test_accuracy=of([epoch.test_accuracy for epoch in epochs]),
        test_loss=of([epoch.test_loss for epoch in epochs]),
        clean_accuracy=of([epoch.clean_accuracy for epoch in epochs]),
        norm=of([epoch.norm for epoch in epochs]),
    )


def describe_accuracy(trial: Trial) -> str:
    """The accuracy for people: 95.12 % +- 0.08, without the deviation where there is one seed."""
    deviation = trial.deviation
    spread = "" if deviation is None else f" \u00b1 {deviation * 100:.2f}"
    return f"{trial.accuracy * 100:.2f}{spread} %"
