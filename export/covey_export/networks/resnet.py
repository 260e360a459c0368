"""A residual network for small images, shaped so that two CPU cores can train it.

After He, Zhang, Ren, Sun: Deep residual learning for image recognition (2015). The small-image stem (one 3x3
convolution, no pooling) is that paper's own for CIFAR-10; wide, shallow stages with a pool between them are
those of Page's ResNet-9 (How to train your ResNet, 2018).

What differs from the paper: 3 stages with one residual block each, a pool behind the first convolution of a
stage in place of a stride, and the maximum in place of the average before the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

STEM = 32
WIDTHS = (64, 128, 256)


def _convolution(inputs: int, outputs: int, *, pool: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        *([nn.MaxPool2d(2)] if pool else []),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two convolutions whose result is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.path(images)
        return images + change


class ResNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 8 up."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, widths: Sequence[int] = WIDTHS, stem: int = STEM
    ) -> None:
        super().__init__()
        self.stem = _convolution(channels, stem)
        self.features = nn.Sequential(
            *(
                nn.Sequential(_convolution(before, after, pool=True), Residual(after))
                for before, after in pairwise([stem, *widths])
            )
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(widths[-1], classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(self.stem(images)))
        return logits
