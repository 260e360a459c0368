"""The network of the recorded model files: a few hundred weights, so that they stay small."""

from __future__ import annotations

from torch import nn


def tiny(classes: int = 10, channels: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 4, 5, stride=2), nn.ReLU(), nn.AdaptiveMaxPool2d(3), nn.Flatten(), nn.Linear(36, classes)
    )
