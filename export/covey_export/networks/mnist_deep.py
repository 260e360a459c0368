"""A deeper MNIST network: four padded 5x5 convolutions and one linear layer."""

from __future__ import annotations

import torch
from torch import nn


class MnistDeep(nn.Module):
    """`[N, 1, 28, 28] float32` to logits `[N, classes]`, with ReLU after each convolution."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.Conv2d(32, 32, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=5, padding=2),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(64 * 7 * 7, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
