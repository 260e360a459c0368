"""LeNet for 1x28x28 images, as "Dive into Deep Learning" builds it in PyTorch: sigmoids and max pooling.

After LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition (1998).
"""

from __future__ import annotations

import torch
from torch import nn


class LeNet(nn.Module):
    """Two convolutions and three linear layers; `[N, 1, 28, 28] float32` to logits `[N, classes]`."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5),
            nn.Sigmoid(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, kernel_size=5),
            nn.Sigmoid(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 4 * 4, 120),
            nn.Sigmoid(),
            nn.Linear(120, 84),
            nn.Sigmoid(),
            nn.Linear(84, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
