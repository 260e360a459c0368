"""MobileNet for small images: each convolution is taken apart into two, which do far less work.

After Howard et al.: MobileNets: efficient convolutional neural networks for mobile vision applications (2017). A
depthwise 3x3 convolution looks at the surroundings, each channel for itself; a pointwise 1x1 convolution mixes the
channels, each pixel for itself. From 128 to 128 channels these are 9 * 128 + 128 * 128 = 17,536 weights, where an
ordinary 3x3 convolution has 9 * 128 * 128 = 147,456.

What differs from the original for 224x224: the first convolution keeps the size (a small image has nothing to skip),
two strides of 2 in place of five (32 -> 16 -> 8), and 7 such pairs of a quarter of its width in place of 13. There are
274,506 parameters for RGB images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

_STEM = 32
PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (256, 1), (256, 1))  # (channels, stride) of each pair


def separable_convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """A depthwise 3x3 convolution and a pointwise one, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, kernel_size=3, stride=stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel_size=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MobileNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 4 up."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, pairs: Sequence[tuple[int, int]] = PAIRS
    ) -> None:
        super().__init__()
        stem = nn.Conv2d(channels, _STEM, kernel_size=3, padding=1, bias=False)
        parts: list[nn.Module] = [stem, nn.BatchNorm2d(_STEM), nn.ReLU()]
        before = _STEM
        for after, stride in pairs:
            parts.append(separable_convolution(before, after, stride))
            before = after
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(before, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
