"""What Covey knows of a network before it exists: how it is built, for which images, what it gives."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from covey_export.errors import InvalidDataset
from covey_proto import colours
from covey_proto.colours import WHITE
from covey_proto.resize import Resize
from covey_server.images.pixels import InputSpec

ImageShape = tuple[int, int, int]  # height, width, channels


class Output(enum.Enum):
    """What a network's own last layer gives."""

    LOGITS = "logits"  # the served model adds the softmax
    PROBABILITIES = "probabilities"  # the softmax is the network's own


@dataclass(frozen=True)
class Task:
    """What a network is built for. `dropout` is the share of values dropped in training, None: the network's own."""

    image_shape: ImageShape
    classes: int
    dropout: float | None = None

    def dropout_or(self, usual: float) -> float:
        """The share that was asked for, else the network's `usual` one."""
        return usual if self.dropout is None else self.dropout


@dataclass(frozen=True)
class Network:
    """One network: `build(task)` makes the module with fresh weights.

    `image_shape` is what it takes unless it is told otherwise; a network with `smallest_side` can be built for
    any image at least that high and wide, the others take their own shape alone.
    """

    name: str
    build: Callable[[Task], nn.Module]
    image_shape: ImageShape
    default_dataset: str
    source: str  # the paper or tutorial
    output: Output = Output.LOGITS
    smallest_side: int | None = None
    only_rgb: bool = False
    resize: Resize = Resize.STRETCH
    crop: float = 1.0  # see covey_server.images.pixels.InputSpec
    background: str = (
        WHITE  # under transparent pixels; empty: alpha is dropped, as in trainings from before there was one
    )
    takes_dropout: bool = False
    classes: int = 10  # of the default data set
    is_own: bool = False  # a user's: nobody knows yet whether it can be converted

    @property
    def spec(self) -> InputSpec:
        """How encoded images come to this network."""
        background = colours.parse(self.background) if self.background else None
        return InputSpec(*self.image_shape, resize=self.resize, crop=self.crop, background=background)

    @property
    def model_name(self) -> str:
        """The name a model of it gets by default: torchvision's alexnet is not Covey's."""
        return self.name.replace(":", "-")

    def fitted_to(self, dataset: str, image_shape: ImageShape) -> Network:
        """The network for images of that shape. Raises InvalidDataset where it cannot take them."""
        if image_shape == self.image_shape:
            return self
        height, width, channels = image_shape
        if self.smallest_side is None:
            raise InvalidDataset(
                f"{self.name} takes images of {size(self.image_shape)}, {dataset} has {size(image_shape)}; "
                f"see `covey export list` for what fits, or use folder:PATH, which resizes images to any network"
            )
        if min(height, width) < self.smallest_side or (self.only_rgb and channels != 3):
            kind = " RGB" if self.only_rgb else ""
            raise InvalidDataset(
                f"{self.name} takes{kind} images from {self.smallest_side}x{self.smallest_side} up, "
                f"{dataset} has {size(image_shape)}; use folder:PATH, which brings images to any size and to RGB"
            )
        return replace(self, image_shape=image_shape)

    def parameters(self) -> int:
        """How many numbers it has for its default data set. Counted without making them."""
        with torch.device("meta"):
            module = self.build(Task(self.image_shape, self.classes))
        return sum(parameter.numel() for parameter in module.parameters())


def size(image_shape: ImageShape) -> str:
    """A shape for people: 28x28 grey."""
    height, width, channels = image_shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
