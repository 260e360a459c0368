"""Brings an image to a model's size: the arithmetic of the resize policies, and the pixels by Pillow.

`resize_exactly` gives what torchvision, timm and Hugging Face's Pillow-based processors give. `resize_quickly` takes
images that were averaged down before, and may still have to be turned upright.
"""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image, ImageOps

from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_server.images import resampling
from covey_server.images.input_spec import InputSpec
from covey_server.images.resampling import Box, Size

_MAX_REDUCTION = 64  # of one side by resizing; only images more than 8 times as long as wide reach it
_MAX_EXACT_SIDE = 1 << 16  # of an image that is resized in one step: its weights take 3 MB; no JPEG is longer
_MAX_ASPECT = (
    16  # of an image that SHORTER_SIDE resizes before it cuts: more is cut off first, or it could have any size
)

UPRIGHT = {  # what turns an image upright, by its EXIF orientation; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)  # width and height change places
_MIRRORED_X = (2, 3, 7, 8)  # the stored image's left is right, or below, once it is upright
_MIRRORED_Y = (3, 4, 6, 7)


class Placement(NamedTuple):
    """The size of the whole image once it is resized, and where the model's image begins within it. Left or top are
    negative where something is padded before it."""

    width: int
    height: int
    left: int
    top: int


def place(size: Size, window: Size, spec: InputSpec) -> Placement:
    """The place of an image of this size in a model's image of the size `window`: SHORTER_SIDE and PAD.

    The roundings are those of torchvision's Resize and CenterCrop, and of timm's crop mode "border".
    """
    width, height = size
    if spec.resize is Resize.PAD:
        ratio = max(width / window[0], height / window[1])
        width, height = max(1, round(width / ratio)), max(1, round(height / ratio))
        return Placement(width, height, -((window[0] - width) // 2), -((window[1] - height) // 2))
    short, long = sorted(size)
    long = int(spec.resize_to * long / short)
    width, height = (spec.resize_to, long) if width <= height else (long, spec.resize_to)
    return Placement(width, height, _crop_offset(width - window[0], spec), _crop_offset(height - window[1], spec))


def _crop_offset(surplus: int, spec: InputSpec) -> int:
    return surplus // 2 if spec.floor_crop else round(surplus / 2)


def resize_exactly(image: Image.Image, spec: InputSpec) -> Image.Image:
    """The upright image at the model's size, by one resize."""
    pillow = resampling.PILLOW[_interpolation(spec)]
    if spec.resize is Resize.CENTER_CROP:
        if image.size == spec.size:
            return image
        return ImageOps.fit(image, spec.size, pillow, bleed=(1 - spec.crop) / 2)
    if spec.resize is Resize.SHORTER_SIDE:
        image = _without_ends(image)
    image = _reduced(image, (max(1, image.width // _MAX_EXACT_SIDE), max(1, image.height // _MAX_EXACT_SIDE)))
    if spec.resize is Resize.STRETCH:
        return image if image.size == spec.size else image.resize(spec.size, pillow)
    placement = place(image.size, spec.size, spec)
    if image.size != (placement.width, placement.height):
        image = image.resize((placement.width, placement.height), pillow)
    if spec.resize is Resize.PAD:
        return _padded(image, (-placement.left, -placement.top), spec.size, spec)
    return image.crop((placement.left, placement.top, placement.left + spec.width, placement.top + spec.height))


def resize_quickly(
    image: Image.Image, spec: InputSpec, *, size: Size, extent: tuple[float, float], orientation: int
) -> Image.Image:
    """An image as it lies in its file, by its EXIF `orientation`, at the model's size, still in the orientation of the
    file.

    It was averaged down from `size`, of which it shows `extent` pixels: its last column or row may stand for less than
    a whole one.
    """
    window = (spec.height, spec.width) if orientation in ON_ITS_SIDE else spec.size
    if spec.interpolation is None and spec.resize is Resize.CENTER_CROP:
        size = extent = image.size
    if spec.resize in (Resize.STRETCH, Resize.CENTER_CROP) and image.size == window:
        return image
    if spec.interpolation is None and spec.resize is Resize.STRETCH:
        size = extent = image.size
    if spec.resize is Resize.SHORTER_SIDE and max(image.size) > _MAX_ASPECT * min(image.size):
        image = _without_ends(image)
        size = extent = image.size
    # Only what is seen is computed: `box`, in pixels of `size`, becomes `part` in those of the model.
    part, offset = window, (0, 0)
    if spec.resize is Resize.STRETCH:
        box = (0.0, 0.0, float(size[0]), float(size[1]))
    elif spec.resize is Resize.CENTER_CROP:
        box = _center_crop_box(size, window, spec.crop)
    else:
        placement = _as_stored(place(size, window, spec), window, orientation)
        left, top = max(placement.left, 0), max(placement.top, 0)
        right, bottom = (
            min(placement.left + window[0], placement.width),
            min(placement.top + window[1], placement.height),
        )
        x, y = size[0] / placement.width, size[1] / placement.height
        box = (left * x, top * y, right * x, bottom * y)
        part, offset = (right - left, bottom - top), (left - placement.left, top - placement.top)
    # Of an image of one column and 50 million rows, the weights alone would take 800 MB and 14 s.
    across, down = _reductions(image.size, part) if spec.resize in (Resize.STRETCH, Resize.PAD) else (1, 1)
    image = _reduced(image, (across, down))
    x, y = extent[0] / across / size[0], extent[1] / down / size[1]
    box = (box[0] * x, box[1] * y, min(box[2] * x, image.width), min(box[3] * y, image.height))
    return _padded(resampling.resize(image, part, _interpolation(spec), box), offset, window, spec)


def peak_bytes(size: Size, spec: InputSpec, channel_bytes: int) -> int:
    """The memory for resizing an image of this size at most, beside the image itself. It is resized across first, which
    keeps the full height."""
    target = max(spec.size)
    short, long = sorted(size)
    if not spec.is_exact:
        rows = min(long, 2 * _MAX_REDUCTION * target)
        return target * rows * channel_bytes + 3 * 4 * target * target
    rows = min(long, 2 * _MAX_EXACT_SIDE)
    if spec.resize is not Resize.SHORTER_SIDE:
        return target * rows * channel_bytes + 3 * 4 * target * target
    side, long = spec.resize_to, min(long, _MAX_ASPECT * short)
    return (side * min(long, rows) + side * (side * long // short)) * channel_bytes + 3 * 4 * target * target


def _center_crop_box(size: Size, window: Size, crop: float) -> Box:
    """The part that CENTER_CROP keeps, as ImageOps.fit does: the largest one of the window's aspect ratio."""
    width, height = size[0] * crop, size[1] * crop
    ratio = window[0] / window[1]
    width, height = min(width, height * ratio), min(height, width / ratio)
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _as_stored(placement: Placement, window: Size, orientation: int) -> Placement:
    """The placement of the model's image while the image still lies as in its file."""
    left = placement.width - window[0] - placement.left if orientation in _MIRRORED_X else placement.left
    top = placement.height - window[1] - placement.top if orientation in _MIRRORED_Y else placement.top
    return Placement(placement.width, placement.height, left, top)


def _interpolation(spec: InputSpec) -> Interpolation:
    return spec.interpolation or Interpolation.BILINEAR


def _reductions(size: Size, target: Size) -> Size:
    return (
        max(1, size[0] // target[0] // _MAX_REDUCTION),
        max(1, size[1] // target[1] // _MAX_REDUCTION),
    )


def _reduced(image: Image.Image, factors: Size) -> Image.Image:
    return image if factors == (1, 1) else image.reduce(factors)


def _without_ends(image: Image.Image) -> Image.Image:
    """The middle of an image that is far longer than wide: all that SHORTER_SIDE shows of it, and more."""
    width, height = min(image.width, _MAX_ASPECT * image.height), min(image.height, _MAX_ASPECT * image.width)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _padded(image: Image.Image, offset: tuple[int, int], window: Size, spec: InputSpec) -> Image.Image:
    """The image on a canvas of the padding colour, where it does not fill the window."""
    if image.size == window:
        return image
    canvas = Image.new("RGB", window, spec.pad)
    if spec.channels == 1:
        canvas = canvas.convert("L")
    canvas.paste(image, offset)
    return canvas
