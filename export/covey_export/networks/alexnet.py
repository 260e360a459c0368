"""AlexNet for small images.

After Krizhevsky, Sutskever, Hinton: ImageNet classification with deep convolutional neural networks (2012).

What differs from the original for 224x224: the first kernels are 3x3 in place of 11x11 with stride 4 (a small image
has nothing to skip), widths are a quarter to a half, the linear layers 512 wide in place of 4096, and batch
normalisation (Ioffe, Szegedy 2015) takes the place of local response normalisation. Five convolutions, three
overlapping poolings (3x3, stride 2) and three linear layers with dropout are as they were.
"""

from __future__ import annotations

import torch
from torch import nn


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class AlexNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 16 up."""

    def __init__(self, height: int, width: int, channels: int, classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(channels, 32),
            nn.MaxPool2d(3, stride=2, padding=1),
            *_convolution(32, 96),
            nn.MaxPool2d(3, stride=2, padding=1),
            *_convolution(96, 192),
            *_convolution(192, 128),
            *_convolution(128, 128),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        for _ in range(3):  # what each pooling leaves
            height, width = (height + 1) // 2, (width + 1) // 2
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(128 * height * width, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Linear(512, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
