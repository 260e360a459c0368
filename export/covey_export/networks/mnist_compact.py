"""A compact MNIST network of seven convolutions, of which two learn what a pool would do, and one linear layer.

After Deotte: 25 million images! [0.99757] MNIST (Kaggle, 2018): 3x3 convolutions without padding, a 5x5 one with a
stride of 2 in place of each pool, batch normalisation behind each.

Maps: 28x28, 26x26, 24x24, 12x12, 10x10, 8x8, 4x4, 1x1; the 4x4 convolution at the end sees all that is left. There are
325,994 parameters.

What differs: the normalisation stands in front of the ReLU, and dropout, where it is asked for, only before the last
layer. How it is trained, turned and shifted digits and averaged weights, is after An, Lee, Park, Yang, So: An ensemble
of simple convolutional neural network models for MNIST digit recognition (2020).
"""

from __future__ import annotations

import torch
from torch import nn


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Without padding, except where the stride halves height and width."""
    padding = kernel // 2 if stride > 1 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size=kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MnistCompact(nn.Module):
    """`[N, 1, 28, 28] float32` to logits `[N, classes]`."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(1, 32, 3),
            _convolution(32, 32, 3),
            _convolution(32, 32, 5, stride=2),
            _convolution(32, 64, 3),
            _convolution(64, 64, 3),
            _convolution(64, 64, 5, stride=2),
            _convolution(64, 128, 4),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(128, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
