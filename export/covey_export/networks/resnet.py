"""A residual network for small images, shaped so that two CPU cores can train it.

After He, Zhang, Ren, Sun: Deep residual learning for image recognition (2015). Wide, shallow stages with a pool
between them are those of Page's ResNet-9 (How to train your ResNet, 2018). What makes it learn in few epochs is of
Jordan: 94% on CIFAR-10 in 3.29 seconds on a single GPU (2024): a stem that whitens patches of 2x2 pixels and is never
trained, convolutions that begin as the identity, GELU, batch normalisation without factors, small logits.

What differs from the paper: that stem, 3 stages with one residual block each, a pool behind the first convolution
of a stage in place of a stride, and the maximum in place of the average before the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

WIDTHS = (64, 192, 256)
_PATCH = 2  # pixels, the side of what the stem sees
_MIN_VARIANCE = 5e-4  # what hardly varies is not magnified without end
_LOGIT_SCALE = 1 / 8


class WhiteningStem(nn.Conv2d):
    """Each 2x2 patch in terms of the principal components of all patches, of variance 1 each, with both signs.

    Its kernels come from the training images by `fit`, once, and are not learned.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels * _PATCH**2, kernel_size=_PATCH, bias=False)
        self.weight.requires_grad_(False)

    @torch.no_grad()
    def fit(self, images: torch.Tensor) -> None:
        """Computes the kernels for `[N, C, H, W] float32`."""
        # On the CPU: not every device has float64 (Apple's mps has not).
        patches = nn.functional.unfold(images.cpu(), _PATCH).transpose(1, 2)
        patches = patches.reshape(-1, self.weight[0].numel()).double()
        variances, components = torch.linalg.eigh(patches.T @ patches / len(patches))
        kernels = (components / (variances + _MIN_VARIANCE).sqrt()).T.flip(0).reshape(-1, *self.weight.shape[1:])
        self.weight.copy_(torch.cat([kernels, -kernels]))


def identity_convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """3x3, whose first outputs begin as the inputs themselves."""
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[:inputs])
    return convolution


def shifting_normalisation(width: int) -> nn.BatchNorm2d:
    """Batch normalisation with a shift to learn for each channel, and no factor."""
    normalisation = nn.BatchNorm2d(width)
    normalisation.weight.requires_grad_(False)  # stays 1: the next kernels have a scale of their own
    return normalisation


class Residual(nn.Module):
    """Two convolutions whose result is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            identity_convolution(width, width),
            shifting_normalisation(width),
            nn.GELU(),
            identity_convolution(width, width),
            shifting_normalisation(width),
        )
        self.activation = nn.GELU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.activation(images + self.path(images))
        return changed


class ResNet(nn.Module):
    """`[N, C, H, W] float32` to logits `[N, classes]`; H and W from 9 up."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.0, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.stem = WhiteningStem(channels)
        self.features = nn.Sequential(
            nn.GELU(),
            *(
                nn.Sequential(
                    identity_convolution(before, after),
                    nn.MaxPool2d(2),
                    shifting_normalisation(after),
                    nn.GELU(),
                    Residual(after),
                )
                for before, after in pairwise([self.stem.out_channels, *widths])
            ),
        )
        self.classifier = nn.Sequential(
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(widths[-1], classes),
        )

    def fit_to_images(self, images: torch.Tensor) -> None:
        """Sees training images `[N, C, H, W] float32` once, before the first step."""
        self.stem.fit(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(self.stem(images)))
        return logits * _LOGIT_SCALE
