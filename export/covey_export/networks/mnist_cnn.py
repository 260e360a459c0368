"""A wide MNIST network: two padded 3x3 convolutions and three linear layers, 3.8 million parameters."""

from __future__ import annotations

import torch
from torch import nn


class MnistCnn(nn.Module):
    """`[N, 1, 28, 28] float32` to logits `[N, classes]`, with ReLU after each layer but the last."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        dropping = [nn.Dropout(dropout)] if dropout else []
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *dropping,
            nn.Linear(64 * 7 * 7, 1024),
            nn.ReLU(),
            *dropping,
            nn.Linear(1024, 512),
            nn.ReLU(),
            *dropping,
            nn.Linear(512, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
