"""Encoded image bytes to an array of a model's input size. The same code prepares the training images of
`folder:` data sets, so that a model meets in production what it met in training.

Limits are checked on the file's header, before a pixel is decoded. Owns no threads and no transport.
"""

from __future__ import annotations

import enum
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from covey_server.errors import ImageTooLarge, InvalidImage

# No other parser of Pillow's can be reached by a caller, and no first request waits for one of these to be imported.
FORMATS = tuple(str(kind.format) for kind in (JpegImageFile, PngImageFile, WebPImageFile, GifImageFile))
DEFAULT_MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would speak first, without the numbers; decode() has its own


class Resize(enum.Enum):
    """How an image comes to the model's height and width."""

    STRETCH = "stretch"  # whatever its aspect ratio
    CENTER_CROP = "center_crop"  # the largest centred part of the right aspect ratio, then resized


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes: `[height, width, channels] uint8`, channels 1 (grey) or 3 (RGB).

    `crop` is the share of the largest centred part that CENTER_CROP keeps: 0.875 leaves out the outer eighth, as
    torchvision's resize to 256 and crop to 224 does. An image that has the model's size already is taken as it is.
    """

    height: int
    width: int
    channels: int
    resize: Resize = Resize.STRETCH
    crop: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.channels


def decode(data: bytes, spec: InputSpec, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """The image in `data`, upright, in the channels and size of `spec`: `[H, W, C] uint8`.

    An alpha channel is dropped, 16-bit grey keeps its upper 8 bits, an animation gives its first frame.

    Raises InvalidImage for bytes that are not a whole JPEG, PNG, WebP or GIF image, ImageTooLarge for more
    than `max_pixels` pixels.
    """
    image = _open(data, max_pixels)
    try:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, never below the size asked for.
        image.draft(None, _draft_size(image.size, spec))
        image.load()
        # Made small before it is turned: turning copies, and a large image would stand in memory three times.
        upright = ImageOps.exif_transpose(_reduce(_convert(image, spec.channels), spec))
    except MemoryError:
        raise  # the server's trouble, not the image's
    except Exception as error:
        raise InvalidImage(
            f"the {image.format} image of {len(data):,} bytes is damaged or cut off ({error}); send the whole file"
        ) from error
    return np.asarray(_resize(upright, spec), dtype=np.uint8).reshape(spec.shape)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise InvalidImage("the image is empty (0 bytes); send a JPEG, PNG, WebP or GIF file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise InvalidImage(
            f"{len(data):,} bytes that are not a JPEG, PNG, WebP or GIF image (they begin with {data[:12]!r})"
        ) from None
    except Exception as error:
        raise InvalidImage(f"the image of {len(data):,} bytes is damaged or cut off in its header ({error})") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"the image is {width} x {height} = {width * height:,} pixels, at most {max_pixels:,} are decoded here; "
            f"scale it down before sending (the model sees a small image anyway)"
        )
    return image


def _least_side(spec: InputSpec) -> int:
    """Twice the model's size, and more where its edges are cut off."""
    return math.ceil(2 * max(spec.width, spec.height) / spec.crop)


def _draft_size(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Twice the model's size, so that the last reduction is still a proper resize; turned images included."""
    side = _least_side(spec)
    short = min(size)
    # Draft keeps the aspect ratio: what counts is that the shorter side stays at least `side`.
    return (max(1, size[0] * side // short), max(1, size[1] * side // short))


def _reduce(image: Image.Image, spec: InputSpec) -> Image.Image:
    """The image averaged down by a whole factor, to no less than twice the model's size: as draft does for JPEG."""
    factor = min(image.size) // _least_side(spec)
    return image.reduce(factor) if factor > 1 else image


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("L" if channels == 1 else "RGB")


def _resize(image: Image.Image, spec: InputSpec) -> Image.Image:
    size = (spec.width, spec.height)
    if image.size == size:
        return image
    if spec.resize is Resize.CENTER_CROP:
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=(1 - spec.crop) / 2)
    return image.resize(size, Image.Resampling.BILINEAR)
