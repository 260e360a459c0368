"""Small images first: a training that begins with fewer pixels does its first epochs, which learn what is coarse, in
less time. Only networks that take images of any size can be trained so.

After Karras et al.: Progressive growing of GANs (2017), and Howard, who trained classifiers so (fast.ai, DAWNBench
2018).
"""

from __future__ import annotations

import torch
from torch import nn

_FULL_FROM = 0.8  # share of the training after which images have their own size
_STEP = 4  # pixels: a CPU prepares its convolutions anew for each size
_MIN_SIDE = 16  # pixels: smaller ones show too little, and pools would leave nothing of them


def side(length: int, first: float, done: float) -> int:
    """The length in pixels, once the share `done` of all steps is done, of a side of `length`; `first` is the share of
    it that training begins with. At least 16, or the whole side."""
    if first == 1 or done >= _FULL_FROM:
        return length
    share = first + (1 - first) * done / _FULL_FROM
    return min(length, max(_MIN_SIDE, round(length * share / _STEP) * _STEP))


def shrink(images: torch.Tensor, first: float, done: float) -> torch.Tensor:
    """The images `[N, C, H, W] float32` at the size of that moment."""
    height, width = images.shape[2:]
    size = (side(height, first, done), side(width, first, done))
    if size == (height, width):
        return images
    return nn.functional.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
