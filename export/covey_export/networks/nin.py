"""Network in Network for small images: each convolution is followed by two of 1x1, a small perceptron at every
pixel, and the average over all pixels of the last block's maps takes the place of linear layers.

After Lin, Chen, Yan: Network in network (2013).

What differs: 3x3 kernels where the paper's network for CIFAR-10 has 5x5, a quarter to all of its width, max pooling
throughout, and batch normalisation (Ioffe, Szegedy 2015).
"""

from __future__ import annotations

import torch
from torch import nn


def nin_block(inputs: int, outputs: int) -> nn.Sequential:
    """A 3x3 convolution and two 1x1 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for before, kernel in ((inputs, 3), (outputs, 1), (outputs, 1)):
        convolution = nn.Conv2d(before, outputs, kernel_size=kernel, padding=kernel // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class NetworkInNetwork(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 8 up."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nin_block(channels, 48),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Dropout2d(dropout / 2),
            nin_block(48, 96),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Dropout2d(dropout),
            nin_block(96, 192),
        )
        self.classifier = nn.Sequential(
            nn.Conv2d(192, classes, kernel_size=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
