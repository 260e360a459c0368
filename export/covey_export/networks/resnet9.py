"""ResNet-9 for small images: nine layers with weights, two residual blocks, made to learn much in few epochs.

After Page: How to train your ResNet (2018), and Jordan: 94% on CIFAR-10 in 3.29 seconds on a single GPU (2024), whose
code is called airbench. From the first are the shape and the widths: a convolution with a pool behind it, a residual
block, another convolution with a pool, a third one, a residual block. From the second is what `resnet` has too, see
there: the first layer, computed from training images and never trained, convolutions that begin as the identity, GELU,
batch normalisation without factors, small logits.

Of 32x32 RGB images: 24 maps of 31x31 (the whitened patches), 128 of 15x15, 256 of 7x7, 512 of 3x3, of which the largest
value of each goes into the last layer. There are 6,525,482 parameters.

What differs from airbench: it has three equal stages, as `resnet` here, and trains a bias of the first layer for a few
epochs.
"""

from __future__ import annotations

import torch
from torch import nn

from covey_export.networks.resnet import Residual, WhiteningStem, identity_convolution, shifting_normalisation

WIDTHS = (128, 256, 512)
_LOGIT_SCALE = 1 / 9


def _stage(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution and a pool that halves height and width."""
    return [identity_convolution(inputs, outputs), nn.MaxPool2d(2), shifting_normalisation(outputs), nn.GELU()]


class ResNet9(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 9 up."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, widths: tuple[int, int, int] = WIDTHS
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.stem = WhiteningStem(channels)
        self.features = nn.Sequential(
            nn.GELU(),
            *_stage(self.stem.out_channels, first),
            Residual(first),
            *_stage(first, second),
            *_stage(second, third),
            Residual(third),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(third, classes),
        )

    def fit_to_images(self, images: torch.Tensor) -> None:
        """Sees training images `[N, C, H, W] float32` once, before the first step."""
        self.stem.fit(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(self.stem(images)))
        return logits * _LOGIT_SCALE
