"""DenseNet-BC for small images: every layer sees the maps of all layers before it in its block.

After Huang, Liu, van der Maaten, Weinberger: Densely connected convolutional networks (2016). B stands for the
bottleneck, a 1x1 convolution in front of each 3x3 one, C for the compression between blocks, where a 1x1 convolution
halves the channels. Normalisation and ReLU stand before the convolutions.

Channels, with a growth of 24 and 6 layers a block: 48, then 48 + 6 * 24 = 192, halved to 96; 240, halved to 120; 264.
Of 28x28 images the maps are 28x28, 14x14 and 7x7. There are 689,482 parameters for grey images.

What differs from the paper: 40 layers that each add 24 channels in place of 100 that add 12 (768,730 parameters), since
a CPU needs less time for few wide layers than for many narrow ones. Layers and growth are parameters: 16 layers a
block and a growth of 12 are the paper's network.
"""

from __future__ import annotations

import torch
from torch import nn

_BOTTLENECK = 4  # the 1x1 convolutions leave this many times the growth
_BLOCKS = 3


class DenseLayer(nn.Module):
    """Adds `growth` maps to those that came in: `[N, C, H, W]` to `[N, C + growth, H, W]`."""

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        super().__init__()
        narrow = _BOTTLENECK * growth
        self.path = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, narrow, kernel_size=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, growth, kernel_size=3, padding=1, bias=False),
            *([nn.Dropout(dropout)] if dropout else []),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([images, self.path(images)], dim=1)


def _transition(inputs: int) -> nn.Sequential:
    """Half the channels, half the height and width."""
    return nn.Sequential(
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, inputs // 2, kernel_size=1, bias=False),
        nn.AvgPool2d(2),
    )


class DenseNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 4 up."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.0, layers: int = 6, growth: int = 24) -> None:
        super().__init__()
        width = 2 * growth
        parts: list[nn.Module] = [nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)]
        for block in range(_BLOCKS):
            if block:
                parts.append(_transition(width))
                width //= 2
            for _ in range(layers):
                parts.append(DenseLayer(width, growth, dropout))
                width += growth
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
