"""Owns what surrounds a network in its model file: uint8 pixels in, probabilities out.

Training goes through `normalise` too, so that a network meets the same arithmetic in training and in service.
"""

from __future__ import annotations

import torch
from torch import nn

from covey_export.networks import Network, Output
from covey_export.recipes import Recipe


class ServedModel(nn.Module):
    """A network between normalisation and softmax: `[N, H, W, C] uint8` to probabilities `[N, K] float32`."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, output: Output, mean: float, std: float) -> None:
        """`mean` and `std` are of pixels scaled to 0..1."""
        super().__init__()
        self.network = network
        self.output = output
        # ((x / 255) - mean) / std as one multiply and one add: both run for every pixel of every request.
        self.register_buffer("scale", torch.tensor(1 / (255 * std)), persistent=False)
        self.register_buffer("shift", torch.tensor(-mean / std), persistent=False)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """`[N, H, W, C] uint8` to the network's own input, `[N, C, H, W] float32`."""
        return images.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.network(self.normalise(images))
        return outputs if self.output is Output.PROBABILITIES else torch.softmax(outputs, dim=1)


def build(network: Network, classes: int, recipe: Recipe) -> ServedModel:
    """The network with fresh weights (drawn from torch's global generator), as it will be served."""
    return ServedModel(network.build(classes), network.output, recipe.mean, recipe.std)
