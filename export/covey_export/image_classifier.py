"""Owns what surrounds a network in its model file: uint8 pixels in, probabilities out.

Training goes through `normalise` too, so that a network meets the same arithmetic in training and in service.
"""

from __future__ import annotations

import torch
from torch import nn

from covey_export.networks import Network, Output, Task
from covey_export.training.recipe import Recipe


class ImageClassifier(nn.Module):
    """A network between normalisation and softmax: `[N, H, W, C] uint8` to probabilities `[N, K] float32`."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        output: Output,
        scale: torch.Tensor,
        shift: torch.Tensor,
        memory_format: torch.memory_format = torch.channels_last,
        temperature: float | None = None,
    ) -> None:
        """A pixel times `scale` plus `shift` is the network's input; one number each, or `[C, 1, 1]`. Scores are
        divided by `temperature` before the softmax; None: by nothing, and there is no such step in the graph.

        `memory_format` is that of the network's input. Networks that call view() need torch.contiguous_format; the ONNX
        graph is the same.
        """
        super().__init__()
        self.network = network
        self.output = output
        self.memory_format = memory_format
        self.temperature = temperature
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    @classmethod
    def around(cls, network: nn.Module, other: ImageClassifier) -> ImageClassifier:
        """Other weights of the same network, between the same normalisation and softmax."""
        return cls(network, other.output, other.scale, other.shift, other.memory_format)

    def with_temperature(self, temperature: float) -> ImageClassifier:
        """The same weights, whose scores are divided by a temperature."""
        return ImageClassifier(
            self.network, self.output, self.scale, self.shift, self.memory_format, temperature
        ).train(self.training)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """`[N, H, W, C] uint8` to the network's own input, `[N, C, H, W] float32`."""
        planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=self.memory_format)
        return planes * self.scale + self.shift

    def scores(self, images: torch.Tensor) -> torch.Tensor:
        """What a softmax makes the probabilities of, `[N, K] float32`, whatever the temperature: the network's logits,
        or the logarithms of its own probabilities."""
        outputs: torch.Tensor = self.network(self.normalise(images))
        if self.output is Output.PROBABILITIES:
            return outputs.clamp(min=torch.finfo(torch.float32).tiny).log()
        return outputs

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.temperature is not None:
            return torch.softmax(self.scores(images) / self.temperature, dim=1)
        outputs: torch.Tensor = self.network(self.normalise(images))
        return outputs if self.output is Output.PROBABILITIES else torch.softmax(outputs, dim=1)


def build(network: Network, classes: int, recipe: Recipe) -> ImageClassifier:
    """The network with fresh weights (drawn from torch's global generator), as it will be served.

    `recipe` is fitted to its data set: it knows the pixels' mean and deviation.
    """
    if recipe.mean is None or recipe.std is None:
        raise ValueError("this is a bug: the recipe is not fitted to a data set")
    # ((x / 255) - mean) / std as one multiply and one add: both run for every pixel of every request.
    scale = _per_channel([1 / (255 * std) for std in recipe.std])
    shift = _per_channel([-mean / std for mean, std in zip(recipe.mean, recipe.std, strict=True)])
    module = network.build(Task(network.image_shape, classes, recipe.dropout))
    memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
    return ImageClassifier(module, network.output, scale, shift, memory_format)


def _per_channel(values: list[float]) -> torch.Tensor:
    return torch.tensor(values[0]) if len(values) == 1 else torch.tensor(values)[:, None, None]
