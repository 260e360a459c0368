"""A wide residual network for small images: few layers, each of them wide, around which the maps also pass unchanged.

After Zagoruyko, Komodakis: Wide residual networks (2016), with the pre-activation of He, Zhang, Ren, Sun: Identity
mappings in deep residual networks (2016): normalisation and ReLU stand before each convolution, so that nothing but
additions lies on the way of what passes unchanged. Dropout, where it is asked for, stands between the two convolutions
of a block.

The paper names its networks WRN-depth-width. This is WRN-16-2: a 3x3 convolution to 16 channels, then three stages of
two blocks with 32, 64 and 128 channels (for 28x28 images: maps of 28x28, 14x14 and 7x7). The first block of a stage
changes the channels, by a 1x1 convolution on its way around; that of the second and third stage also halves height and
width, by a stride of 2. There are 691,386 parameters for grey images. Depth and the factor of the width are parameters;
WRN-16-4 is four times as large.
"""

from __future__ import annotations

import torch
from torch import nn

_FIRST = 16
_STAGES = ((1, 1), (2, 2), (4, 2))  # (channels as a multiple of the first stage's, stride)


class WideBlock(nn.Module):
    """Two 3x3 convolutions, whose result is added to what came in; it keeps the shape or changes it as said."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.path = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
        )
        is_same = inputs == outputs and stride == 1
        self.around = None if is_same else nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        ready = self.before(images)
        unchanged = images if self.around is None else self.around(ready)
        changed: torch.Tensor = unchanged + self.path(ready)
        return changed


class WideResNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 4 up. `depth` is 6 n + 4."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.0, depth: int = 16, factor: int = 2) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"a wide residual network has 10, 16, 22, 28, ... layers, not {depth}")
        parts: list[nn.Module] = [nn.Conv2d(channels, _FIRST, kernel_size=3, padding=1, bias=False)]
        before = _FIRST
        for multiple, stride in _STAGES:
            after = _FIRST * factor * multiple
            for block in range((depth - 4) // 6):
                parts.append(WideBlock(before, after, 1 if block else stride, dropout))
                before = after
        self.features = nn.Sequential(*parts, nn.BatchNorm2d(before), nn.ReLU())
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images))
        return logits
