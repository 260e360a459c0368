"""GoogLeNet for small images: Inception blocks, whose four paths look at 1x1, 3x3, 5x5 and pooled surroundings.

After Szegedy et al.: Going deeper with convolutions (2014).

What differs from the original for 224x224: a stem of two 3x3 convolutions with one pooling in place of three with
two, four Inception blocks of an eighth to a third of the width in place of nine, batch normalisation behind each
convolution (Ioffe, Szegedy 2015), and no auxiliary classifiers.
"""

from __future__ import annotations

import torch
from torch import nn


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class Inception(nn.Module):
    """Four parallel paths, put together along the channels.

    `narrow3` and `narrow5` are the channels that the 1x1 convolutions leave for the 3x3 and 5x5 ones.
    """

    def __init__(self, inputs: int, one: int, narrow3: int, three: int, narrow5: int, five: int, pooled: int) -> None:
        super().__init__()
        self.one = _convolution(inputs, one, 1)
        self.three = nn.Sequential(_convolution(inputs, narrow3, 1), _convolution(narrow3, three, 3))
        self.five = nn.Sequential(_convolution(inputs, narrow5, 1), _convolution(narrow5, five, 5))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolution(inputs, pooled, 1))
        self.outputs = one + three + five + pooled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        paths = (self.one, self.three, self.five, self.pooled)
        return torch.cat([path(images) for path in paths], dim=1)


class GoogLeNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 8 up."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(channels, 32, 3), nn.MaxPool2d(2), _convolution(32, 64, 3))
        second = Inception(64, 24, 24, 48, 8, 16, 16)
        third = Inception(second.outputs, 32, 32, 64, 8, 24, 24)
        fourth = Inception(third.outputs, 48, 48, 96, 12, 24, 24)
        fifth = Inception(fourth.outputs, 64, 64, 128, 16, 32, 32)
        self.features = nn.Sequential(second, third, nn.MaxPool2d(2), fourth, fifth)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(fifth.outputs, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(self.stem(images)))
        return logits
