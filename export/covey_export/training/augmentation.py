"""Random changes of training images that leave their class as it is, for a whole batch at once.

What is random comes from the seed and the place in the training alone, so that a resumed training sees the same
images as one that was never interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from covey_export import naming
from covey_export.datasets.family import Family
from covey_export.errors import ExportError


@dataclass(frozen=True)
class Augmentation:
    """What is done to each training image. Shares are of the image's side, 0 to 1; zero means never."""

    flip: bool = False  # left and right; each image is seen both ways in any two epochs (Jordan 2024)
    shift: float = 0.0  # moved by at most this share, up, down, left, right ("crop" of a padded image)
    cutout: float = 0.0  # a grey square with this share as its side, anywhere (DeVries, Taylor 2017)
    erase: float = 0.0  # in this share of the images a rectangle becomes noise (Zhong et al.: Random erasing, 2017)
    rotation: float = 0.0  # turned by at most this many degrees
    zoom: float = 0.0  # made larger or smaller by at most this share

    @classmethod
    def parse(cls, text: str) -> Augmentation:
        """Parses "none" or a list such as "flip,shift=0.1,rotation"; a name without a number gets the usual one.

        Raises UnknownName, ExportError.
        """
        if text == "none":
            return cls()
        values: dict[str, float] = {}
        for part in text.split(","):
            name, equals, number = part.strip().partition("=")
            if name == "none" or (name == "flip" and equals):
                raise ExportError(f"augmentation {text!r}: none stands alone, and flip takes no number")
            if name not in _USUAL:
                raise naming.unknown("augmentation", name, ["none", *_USUAL])
            try:
                values[name] = float(number) if equals else _USUAL[name]
            except ValueError:
                values[name] = math.nan
            limit = _MAX_STRENGTH[name]
            if not 0 <= values[name] <= limit:
                raise ExportError(f"augmentation {name}: expected a number from 0 to {limit:g}, got {number!r}")
        return cls(**{**values, "flip": bool(values.get("flip"))})  # type: ignore[arg-type]

    def describe(self) -> str:
        """The augmentation in a few words, for people."""
        parts = [
            "flip" if self.flip else "",
            f"shift {self.shift:.0%}" if self.shift else "",
            f"cutout {self.cutout:.0%}" if self.cutout else "",
            f"erase in {self.erase:.0%}" if self.erase else "",
            f"rotation {self.rotation:g} degrees" if self.rotation else "",
            f"zoom {self.zoom:.0%}" if self.zoom else "",
        ]
        return ", ".join(part for part in parts if part) or "none"


NONE = Augmentation()
_USUAL: Mapping[str, float] = {"flip": 1, "shift": 0.125, "cutout": 0.25, "erase": 0.5, "rotation": 10, "zoom": 0.1}
_MAX_STRENGTH: Mapping[str, float] = {"flip": 1, "shift": 0.5, "cutout": 1, "erase": 1, "rotation": 180, "zoom": 0.9}
_OF_FAMILIES: Mapping[Family, Augmentation] = {
    Family.SIGNS: Augmentation(shift=0.08, rotation=10, zoom=0.1),
    Family.CLOTHES: Augmentation(flip=True, shift=0.04),
    Family.PHOTOGRAPHS: Augmentation(flip=True, shift=0.125),
    Family.NUMBERS: NONE,
    # No flip: where images must not be mirrored it costs more than it gains where they may.
    Family.UNKNOWN: Augmentation(shift=0.125),
}


def of_family(family: Family) -> Augmentation:
    """The usual augmentation for a data set of that family."""
    return _OF_FAMILIES[family]


def augment(
    images: torch.Tensor, flipped: torch.Tensor, augmentation: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """The batch `[N, H, W, C] uint8` changed at random; `flipped` `[N] bool`: which images are mirrored this time.

    What is moved into view is the image's edge again.
    """
    device = images.device
    if augmentation.rotation or augmentation.zoom:
        images = _warp(images, flipped, augmentation, generator)
    elif augmentation.shift or augmentation.flip:
        images = _move(images, flipped, augmentation, generator)
    if augmentation.cutout:
        images = images.masked_fill(_squares(images, augmentation.cutout, generator).to(device), _GREY)
    if augmentation.erase:
        noise = torch.randint(0, 256, images.shape, dtype=torch.uint8, generator=generator)
        images = torch.where(_rectangles(images, augmentation.erase, generator).to(device), noise.to(device), images)
    return images


_GREY = 127
_ERASED_AREA = (0.02, 0.33)  # shares of the image, and the ratio of height to width: the paper's
_ERASED_RATIO = 3.3


def _move(
    images: torch.Tensor, flipped: torch.Tensor, augmentation: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """Shifts and mirrors by whole pixels: rows and columns are picked anew, which is exact and fast."""
    count, height, width, _ = images.shape
    limits = (round(augmentation.shift * height), round(augmentation.shift * width))
    down, right = (torch.randint(-limit, limit + 1, (count, 1), generator=generator) for limit in limits)
    rows = (torch.arange(height) + down).clamp(0, height - 1)
    columns = (torch.arange(width) + right).clamp(0, width - 1)
    if augmentation.flip:
        columns = torch.where(flipped.cpu()[:, None], columns.flip(1), columns)
    image = torch.arange(count)[:, None, None]
    return images[image.to(images.device), rows[:, :, None].to(images.device), columns[:, None, :].to(images.device)]


def _warp(
    images: torch.Tensor, flipped: torch.Tensor, augmentation: Augmentation, generator: torch.Generator
) -> torch.Tensor:
    """Rotation, zoom, shift and flip in one resampling."""

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    angle, zoom = uniform(math.radians(augmentation.rotation)), 1 + uniform(augmentation.zoom)
    right, down = uniform(2 * augmentation.shift), uniform(2 * augmentation.shift)  # the grid goes from -1 to 1
    sign = torch.where(flipped.cpu(), -1.0, 1.0) if augmentation.flip else torch.ones(len(images))
    height, width = images.shape[1:3]
    wide = width / height  # in the grid's measure an image is as high as it is wide, whatever its pixels are
    rows = [
        torch.stack([sign * zoom * angle.cos(), -zoom * angle.sin() / wide, right], dim=1),
        torch.stack([sign * zoom * angle.sin() * wide, zoom * angle.cos(), down], dim=1),
    ]
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    grid = nn.functional.affine_grid(
        torch.stack(rows, dim=1).to(images.device), list(pixels.shape), align_corners=False
    )
    warped = nn.functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _squares(images: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """`[N, H, W, 1] bool`, true within one square per image; a part of it may lie outside."""
    count, height, width, _ = images.shape
    side = max(1, round(share * min(height, width)))
    middles = [torch.randint(0, length, (count,), generator=generator) for length in (height, width)]
    sides = torch.full((count,), side)
    return _within(images, middles[0] - side // 2, sides, middles[1] - side // 2, sides)


def _rectangles(images: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """`[N, H, W, 1] bool`, true within one rectangle in that share of the images; it lies inside."""
    count, height, width, _ = images.shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    least, most = _ERASED_AREA
    area = uniform(least, most) * height * width
    ratio = uniform(-math.log(_ERASED_RATIO), math.log(_ERASED_RATIO)).exp()
    rows = (area * ratio).sqrt().round().clamp(1, height)
    columns = (area / ratio).sqrt().round().clamp(1, width)
    top, left = (uniform(0, 1) * (height - rows + 1)).floor(), (uniform(0, 1) * (width - columns + 1)).floor()
    is_erased = torch.rand(count, generator=generator) < share
    return _within(images, top, rows * is_erased, left, columns * is_erased)


def _within(
    images: torch.Tensor, top: torch.Tensor, rows: torch.Tensor, left: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """`[N, H, W, 1] bool`, true in those rows and columns, `[N]` each, of which a part may lie outside."""
    _, height, width, _ = images.shape

    def inside(length: int, first: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        distance = torch.arange(length) - first[:, None]
        return (distance >= 0) & (distance < size[:, None])

    return (inside(height, top, rows)[:, :, None] & inside(width, left, columns)[:, None, :])[..., None]
