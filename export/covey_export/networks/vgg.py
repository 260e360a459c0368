"""VGG for small images: blocks of 3x3 convolutions with padding 1, each block ended by a 2x2 pool of stride 2.

After Simonyan, Zisserman: Very deep convolutional networks for large-scale image recognition (2014).

What differs from the original for 224x224: three blocks in place of five (28 -> 14 -> 7 -> 3), a quarter to a half
of the width, batch normalisation (Ioffe, Szegedy 2015) behind each convolution, and one hidden linear layer of 256
in place of two of 4096. Depth and width are parameters, as in the paper's table of configurations.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

BLOCKS = ((2, 32), (2, 64), (2, 128))  # (convolutions, channels) of each block


def vgg_block(convolutions: int, inputs: int, outputs: int) -> nn.Sequential:
    """That many convolutions, then a pool that halves height and width."""
    widths = [inputs, *[outputs] * convolutions]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2, stride=2))


class Vgg(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 2 to the power of the number of blocks up."""

    def __init__(
        self,
        height: int,
        width: int,
        channels: int,
        classes: int,
        dropout: float = 0.5,
        blocks: Sequence[tuple[int, int]] = BLOCKS,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        widths = [channels, *(block_width for _, block_width in blocks)]
        self.features = nn.Sequential(
            *(
                vgg_block(convolutions, before, after)
                for (convolutions, _), (before, after) in zip(blocks, pairwise(widths), strict=True)
            )
        )
        halvings = 2 ** len(blocks)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(widths[-1] * (height // halvings) * (width // halvings), hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
