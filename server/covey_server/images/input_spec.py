"""The input of a model, as far as it concerns images: the part of its preprocessing that is not in its graph."""

from __future__ import annotations

import math
from dataclasses import dataclass

from covey_proto.colours import Colour
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes: `[height, width, channels] uint8`, channels 1 (grey) or 3 (RGB).

    `crop` is the share of the largest centred part that CENTER_CROP keeps: 0.875 leaves out the outer eighth, as
    torchvision's resize to 256 and crop to 224 does. An image that has the model's size already is taken as it is.

    `background` shows through transparent pixels; None: alpha is dropped, whatever colour lies under it.

    `resize_to` is the length of the shorter side, in pixels, from which SHORTER_SIDE cuts the model's size. Where an
    odd number of rows or columns is cut off, `floor_crop` cuts the smaller half at the top and left (Hugging Face);
    else the half is rounded to even (torchvision, timm). `pad` is the colour around an image that PAD fitted in.

    `interpolation` of None is bilinear as before there was a choice: STRETCH and CENTER_CROP then take the last column
    and row of an image that was averaged down for whole ones, and are up to 1.5 levels off on average.

    `exact`: to the pixel what Pillow gives by one resize of the whole image; else large images are averaged down before
    that, which is faster. docs/preprocessing.md has the differences.
    """

    height: int
    width: int
    channels: int
    resize: Resize = Resize.STRETCH
    crop: float = 1.0
    background: Colour | None = None
    resize_to: int = 0
    interpolation: Interpolation | None = None
    pad: Colour = BLACK
    ignore_exif: bool = False
    exact: bool = False
    floor_crop: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.channels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, as Pillow has them."""
        return (self.width, self.height)

    @property
    def is_exact(self) -> bool:
        """Whether pixels are resized exactly. NEAREST always is: of averaged pixels, none is the nearest one."""
        return self.exact or self.interpolation is Interpolation.NEAREST

    @property
    def least_side(self) -> int:
        """The least length of the shorter side, in pixels, while an image is averaged down: twice what it is resized
        to, so that the last step is still a proper resize."""
        if self.resize is Resize.SHORTER_SIDE:
            return 2 * self.resize_to
        return math.ceil(2 * max(self.width, self.height) / self.crop)
