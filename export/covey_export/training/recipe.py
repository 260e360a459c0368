"""What can be set about how a network is trained. recipes.py has the numbers of each network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from covey_export.datasets import Dataset
from covey_export.errors import InvalidRecipe
from covey_export.option_values import OPTIMIZERS, TRAINING_PRECISIONS, Optimizer, TrainingPrecision
from covey_export.training.augmentation import NONE, Augmentation, of_family
from covey_proto.wording import plural

Schedule = Literal["constant", "one-cycle"]
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
WITH_MOMENTUM: tuple[Optimizer, ...] = ("sgd", "muon")

_Limit = tuple[Callable[[Any], bool], str]
_SHARE: _Limit = (lambda value: value is None or 0 <= value < 1, "a number from 0 to below 1")
_COUNT: _Limit = (lambda value: value is None or value >= 1, "a whole number from 1 up")
_FACTOR: _Limit = (lambda value: 0 < value < math.inf, "a number above 0")
_LIMITS: Mapping[str, _Limit] = {  # is it right, and what is expected, by the field's name
    "batch_size": _COUNT,
    "epochs": (lambda value: value >= 0, "a whole number from 0 up"),
    "optimizer": (lambda value: value in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
    "learning_rate": _FACTOR,
    "momentum": _SHARE,
    "weight_decay": (lambda value: 0 <= value < math.inf, "a number from 0 up"),
    "bias_rate": _FACTOR,
    "schedule": (lambda value: value in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
    "warm_up": _SHARE,
    "label_smoothing": _SHARE,
    "dropout": _SHARE,
    "averaging": _SHARE,
    "precision": (lambda value: value in TRAINING_PRECISIONS, f"one of {', '.join(TRAINING_PRECISIONS)}"),
    "first_size": (lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    "log_steps": _COUNT,
    "checkpoint_steps": _COUNT,
    "threads": _COUNT,
    "train_images": _COUNT,
}
_MIN_BATCH = 16  # a batch is never made smaller than this for want of data
_MAX_EPOCHS = 200


@dataclass(frozen=True)
class Recipe:
    """One way to train one network.

    None in `augmentation`, `mean` or `std` stands for what the data set itself says, "auto" in `precision` for
    what is faster here: `fitted_to` and training fill them in, so that the checkpoint holds what really was done.

    Raises InvalidRecipe where a field has a value that nothing could be trained by.
    """

    name: str
    batch_size: int
    epochs: int
    optimizer: Optimizer
    learning_rate: float  # of "one-cycle": the highest
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0  # of kernels and matrices; never of biases and batch normalisation
    bias_rate: float = 1.0  # of the biases of batch normalisation: times the learning rate
    schedule: Schedule = "constant"
    warm_up: float = 0.2  # share of a one-cycle training in which the learning rate rises
    label_smoothing: float = 0.0
    dropout: float | None = None  # None: the network's own
    averaging: float | None = None  # decay of the moving average of the weights (EMA) per step; None: no average
    augmentation: Augmentation | None = NONE
    mean: tuple[float, ...] | None = (0.0,)  # of pixels scaled to 0..1: one for all channels, or one for each
    std: tuple[float, ...] | None = (1.0,)
    precision: TrainingPrecision = "float32"
    channels_last: bool = False
    freeze: bool = False  # only the last layer learns
    first_size: float = 1.0  # share of the images' sides that training begins with, see training.progressive
    log_steps: int | None = None  # the running loss is said every so many steps; None: once an epoch
    shuffle: bool = True  # False: every epoch takes the images in the data set's order
    checkpoint_steps: int | None = None  # None: once an epoch
    threads: int | None = None  # of PyTorch on the CPU; None: its default, one a core
    train_images: int = 60_000  # of the data set the recipe was made for
    reported: tuple[str, float] | None = None  # data set and test accuracy that the tutorial reports

    def __post_init__(self) -> None:
        for field, (is_right, expected) in _LIMITS.items():
            value = getattr(self, field)
            if not is_right(value):
                raise InvalidRecipe(f"recipe {self.name!r}: {field} is {value!r}; expected {expected}")
        if self.momentum and self.optimizer not in WITH_MOMENTUM:
            raise InvalidRecipe(
                f"recipe {self.name!r}: momentum is {self.momentum:g} with {self.optimizer}, which has its own; "
                f"expected 0, or one of the optimizers {', '.join(WITH_MOMENTUM)}"
            )
        if self.nesterov and not self.momentum:
            raise InvalidRecipe(f"recipe {self.name!r}: nesterov without momentum; expected a momentum above 0")

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Recipe:
        """The recipe whose `dataclasses.asdict` gave `fields`. Raises TypeError, InvalidRecipe."""
        augmentation = fields["augmentation"]
        return cls(**{**fields, "augmentation": augmentation and Augmentation(**augmentation)})

    def fitted_to(self, dataset: Dataset) -> Recipe:
        """The recipe for one data set: as many steps as it needs, the mean and deviation of its pixels, and no flip
        where its images may not be mirrored."""
        fitted = self.adapted_to(len(dataset.train_images))
        if fitted.mean is None or fitted.std is None:
            mean, std = _statistics(dataset)
            fitted = dataclasses.replace(fitted, mean=mean, std=std)
        family_augmentation = of_family(dataset.family)
        augmentation = family_augmentation if fitted.augmentation is None else fitted.augmentation
        return dataclasses.replace(
            fitted, augmentation=dataclasses.replace(augmentation, flip=augmentation.flip and family_augmentation.flip)
        )

    def adapted_to(self, train_images: int) -> Recipe:
        """The recipe for a set of that many images: unchanged from half the original size up. Below that,
        batches up to eight times smaller and more epochs, so that there are no fewer steps (at most twice as
        many) of far fewer images. A recipe without epochs has none to adapt.

        The peak of a one-cycle SGD is as high as batches of the original size allow, so it shrinks with the batch:
        unscaled, `resnet` on the sample (batch 32, peak 0.25) never left a loss of 2.30, or ended in NaN. A constant
        rate is far below that limit and stays; so does Adam's, whose steps are scaled by the gradient's size.
        """
        if not self.is_adapted_to(train_images):
            return self
        shortage = self.train_images / train_images
        divisor = max(1, min(8, int(shortage), self.batch_size // _MIN_BATCH))
        epochs = round(self.epochs * shortage / min(4, divisor))
        batch_size = self.batch_size // divisor
        scales = self.optimizer == "sgd" and self.schedule == "one-cycle"
        return dataclasses.replace(
            self,
            batch_size=batch_size,
            epochs=max(self.epochs, min(_MAX_EPOCHS, epochs)),
            learning_rate=self.learning_rate * (batch_size / self.batch_size if scales else 1),
        )

    def is_adapted_to(self, train_images: int) -> bool:
        """Whether a set of that many images is small enough for other numbers than the recipe's own."""
        return self.epochs > 0 and 2 * train_images <= self.train_images

    def describe(self) -> str:
        """One line for people."""
        if not self.epochs:
            return "no training: the weights stay as they are"
        momentum = f" momentum {self.momentum:g}" if self.momentum else ""
        parts = [
            f"weight decay {self.weight_decay:g}" if self.weight_decay else "",
            f"bias rate {self.bias_rate:g}" if self.bias_rate != 1 else "",
            f"label smoothing {self.label_smoothing:g}" if self.label_smoothing else "",
            f"dropout {self.dropout:g}" if self.dropout is not None else "",
            f"from {self.first_size:.0%} of the images' size up" if self.first_size < 1 else "",
            f"averaged over {plural(round(1 / (1 - self.averaging)), 'step')}" if self.averaging else "",
            "only the last layer" if self.freeze else "",
            "" if self.shuffle else "not shuffled",
            "" if self.schedule == "constant" else self.schedule,
            "bfloat16" if self.precision == "bfloat16" else "",
        ]
        return ", ".join(
            part
            for part in (
                f"batch {self.batch_size}",
                f"{self.optimizer} lr {self.learning_rate:g}{momentum}",
                *parts,
                plural(self.epochs, "epoch"),
            )
            if part
        )


def _statistics(dataset: Dataset) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of the training images, scaled to 0..1, to four digits."""
    means, deviations = [], []
    for channel in range(dataset.image_shape[2]):
        # Computed from how often each of the 256 values occurs, without a floating-point copy of all images.
        counts = np.bincount(dataset.train_images[..., channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        mean = float(counts @ values / counts.sum())
        variance = float(counts @ (values - mean) ** 2 / counts.sum())
        means.append(round(mean, 4))
        deviations.append(max(round(math.sqrt(variance), 4), 1e-4))  # images of one colour have none
    return tuple(means), tuple(deviations)
