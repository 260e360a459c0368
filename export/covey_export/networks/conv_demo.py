"""A convolution to compute by hand: 5x5 numbers, one 3x3 kernel, ReLU, a 2x2 pool, softmax. Nothing is learned.

The kernel is that of Dumoulin, Visin: A guide to convolution arithmetic for deep learning (2016), figure 1.1.
"""

from __future__ import annotations

import torch
from torch import nn

from covey_export.errors import InvalidDataset

KERNEL = ((0.0, 1.0, 2.0), (2.0, 2.0, 0.0), (0.0, 1.0, 2.0))
CLASSES = 4  # the four numbers that the pool leaves: which corner of the image answers the kernel most


class ConvDemo(nn.Module):
    """`[N, 1, 5, 5] float32` to probabilities `[N, 4]`; each layer is a name of its own, to be looked at."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        if classes != CLASSES:
            raise InvalidDataset(f"conv-demo tells {CLASSES} corners of an image apart, not {classes} classes")
        self.convolution = nn.Conv2d(1, 1, kernel_size=3, stride=1, padding=0, bias=False)  # 5x5 to 3x3
        self.convolution.weight = nn.Parameter(torch.tensor([[KERNEL]]), requires_grad=False)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2, stride=2, padding=1)  # 3x3 to 2x2
        self.flatten = nn.Flatten()
        self.softmax = nn.Softmax(dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.pool(self.relu(self.convolution(images)))
        probabilities: torch.Tensor = self.softmax(self.flatten(pooled))
        return probabilities
