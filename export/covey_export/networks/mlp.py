"""The multilayer perceptron of "Dive into Deep Learning" (one hidden layer of 256, ReLU), for 1x28x28 images.

The only network here whose softmax is its own last layer: it gives probabilities, not logits.
"""

from __future__ import annotations

import torch
from torch import nn


class MultilayerPerceptron(nn.Module):
    """784-256-classes; `[N, 1, 28, 28] float32` to probabilities `[N, classes]`."""

    def __init__(self, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(28 * 28, 256),
            nn.ReLU(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(256, classes),
            nn.Softmax(dim=1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        probabilities: torch.Tensor = self.classifier(images)
        return probabilities
