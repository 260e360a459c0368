"""Encoded image bytes to an array of a model's input size. The same code prepares the training images of
`folder:` data sets, so that a model meets in production what it met in training.

Limits are checked on the file's header, before a pixel is decoded (`headers` reads it). Owns no threads and no
transport.
docs/decoding.md says what was measured and why each step stands where it does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from covey_proto import image_formats as table
from covey_proto.colours import Colour
from covey_proto.image_formats import Format
from covey_proto.resize import Resize
from covey_server.errors import ImageTooLarge, InvalidImage
from covey_server.images import file_kinds, headers, image_formats, jpeg_decoder, png_decoder, transparency
from covey_server.images.headers.header import Header, damaged

DEFAULT_MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would speak first, without the numbers; decode() has its own
# One file can make Pillow warn thousands of times, each time with another text: the log and the list of warnings
# already shown would grow at a caller's will.
warnings.filterwarnings("ignore", module=r"PIL\.")
_STRIP_PIXELS = 1 << 18  # converted at a time
_MAX_REDUCTION = 64  # of one side by resizing; only images more than 8 times as long as wide reach it
_DRAFTS = (8, 4, 2)  # a JPEG can be decoded at one of these parts of its size

_UPRIGHT = {  # what turns an image upright, by its EXIF orientation; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)  # width and height change places


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model takes: `[height, width, channels] uint8`, channels 1 (grey) or 3 (RGB).

    `crop` is the share of the largest centred part that CENTER_CROP keeps: 0.875 leaves out the outer eighth, as
    torchvision's resize to 256 and crop to 224 does. An image that has the model's size already is taken as it is.

    `background` shows through transparent pixels; None: alpha is dropped, whatever colour lies under it.
    """

    height: int
    width: int
    channels: int
    resize: Resize = Resize.STRETCH
    crop: float = 1.0
    background: Colour | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)

    @property
    def nbytes(self) -> int:
        return self.height * self.width * self.channels


def decode(
    data: bytes, spec: InputSpec, max_pixels: int = DEFAULT_MAX_PIXELS, formats: Collection[Format] = table.DEFAULT
) -> NDArray[np.uint8]:
    """The image in `data`, upright, in the channels and size of `spec`: `[H, W, C] uint8`.

    Transparent pixels show the background of `spec`, 16-bit grey keeps its upper 8 bits, an animation gives its first
    frame.

    Raises InvalidImage for bytes that are not a whole image of one of the `formats`, ImageTooLarge for more than
    `max_pixels` pixels.
    """
    return np.frombuffer(_pixels(read_header(data, max_pixels, formats), spec), np.uint8).reshape(spec.shape)


def decode_into(place: memoryview, header: Header, spec: InputSpec) -> None:
    """As `decode`, into `place`: writable, contiguous, `spec.nbytes` long. It is written only where all went well."""
    place[:] = _pixels(header, spec)


def read_header(
    data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, formats: Collection[Format] = table.DEFAULT
) -> Header:
    """What the file says before a pixel is decoded. Raises InvalidImage and ImageTooLarge."""
    if not data:
        raise InvalidImage(f"the image is empty (0 bytes); send a {table.listed(formats)} file")
    found = table.identify(data)
    if found is None or found not in formats:
        what = image_formats.not_decoded(found, formats) if found else file_kinds.describe(data)
        raise InvalidImage(f"not a {table.listed(formats)} image: the {len(data):,} bytes are {what}")
    header = headers.read(data, found)
    if header.pixels > max_pixels:
        raise ImageTooLarge(
            f"the image is {header.width} x {header.height} = {header.pixels:,} pixels, at most {max_pixels:,} are "
            f"decoded here; scale it down before sending (the model sees a small image anyway)"
        )
    return header


def needed_bytes(header: Header, spec: InputSpec) -> int:
    """What decoding takes at its peak, a little more than was measured: docs/decoding.md has the figures."""
    least, draft = _least_side(spec), _draft(header, spec)
    decoded = header.pixels // draft**2
    factor = max(1, min(header.width, header.height) // draft // least)
    width, height = header.width // draft // factor + 1, header.height // draft // factor + 1
    channel_bytes = 1 if spec.channels == 1 else 4
    target = max(spec.width, spec.height)
    return int(
        decoded * header.pixel_bytes
        + header.pixels * header.decoder_bytes
        + len(header.data) * (3 if header.format == "WebP" else 2)
        + width * height * channel_bytes  # in the model's channels
        + 12 * min(header.pixels, _STRIP_PIXELS)
        # Resizing goes across first, and `_resize` keeps what it begins with below so many rows.
        + target * min(height, 2 * _MAX_REDUCTION * target) * channel_bytes
        + 3 * 4 * target * target
    )


def _pixels(header: Header, spec: InputSpec) -> bytes:
    try:
        image = image_formats.opened(header)
        # Again, as what the header's reader and Pillow do not agree on must not be allocated.
        if not _is_as_large(image, header):
            raise OSError(f"its size is {header.width} x {header.height} or {image.width} x {image.height}")
        image.decodermaxblock = len(header.data)  # in one go: it is in memory already
        key = transparency.key(image)
        frame = image.dispose_extent if isinstance(image, GifImageFile) and key is None else None
        if header.can_shrink and isinstance(image, JpegImageFile):
            image.draft(None, _draft_size(image.size, spec))
        if header.scan_end is not None and isinstance(image, JpegImageFile):
            jpeg_decoder.load(image, header.data, header.scan_end)
        elif isinstance(image, PngImageFile):
            png_decoder.load(image, header.data)
        else:
            image.load()
        if frame is not None and spec.background is not None:
            transparency.clear_outside(image, frame, spec.background)
        orientation = header.orientation or image.getexif().get(ExifTags.Base.Orientation, 1)
        small = _resize(_reduce(image, spec, key), spec, on_its_side=orientation in _ON_ITS_SIDE)
        # Turned last, as it copies; grey has waited until now, as resizing one channel gives the same pixels as
        # resizing three equal ones.
        upright = small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small
        return _in_mode(upright, _mode(spec.channels)).tobytes()
    except MemoryError:
        raise  # the server's trouble, not the image's
    except Exception as error:
        raise damaged(header.format, header.file_bytes, str(error)) from error


def _is_as_large(image: Image.Image, header: Header) -> bool:
    """As the header says. HEIC's parser has cut the image out and turned it already."""
    if header.orientation is None:
        return image.width * image.height <= header.pixels
    return image.size == (header.width, header.height)


def _draft(header: Header, spec: InputSpec) -> int:
    """The part of its size at which a JPEG is decoded, as Pillow's draft decides by `_draft_size`."""
    factor = min(header.width, header.height) // _least_side(spec) if header.can_shrink else 1
    return next((draft for draft in _DRAFTS if draft <= factor), 1)


def _least_side(spec: InputSpec) -> int:
    """Twice the model's size, and more where its edges are cut off."""
    return math.ceil(2 * max(spec.width, spec.height) / spec.crop)


def _draft_size(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Twice the model's size, so that the last reduction is still a proper resize; turned images included."""
    side = _least_side(spec)
    short = min(size)
    # Draft keeps the aspect ratio: what counts is that the shorter side stays at least `side`.
    return (max(1, size[0] * side // short), max(1, size[1] * side // short))


def _reduce(image: Image.Image, spec: InputSpec, key: transparency.Key | None) -> Image.Image:
    """The image in the model's channels and over its background, averaged down by a whole factor to no less than twice
    the model's size: as draft does for JPEG."""
    factor = max(1, min(image.size) // _least_side(spec))
    if image.mode in ("L", _mode(spec.channels)) and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image
    if factor == 1 and image.width * image.height <= _STRIP_PIXELS:
        return _convert(image, spec, key)
    # By strips: a converted copy of a whole image would take as much memory again, or four times as much.
    width, height = image.size
    rows = factor * max(1, _STRIP_PIXELS // (width * factor))
    small: Image.Image | None = None
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        part = _convert(strip, spec, key).reduce(factor)
        if small is None:
            small = Image.new(part.mode, (part.width, math.ceil(height / factor)))
        small.paste(part, (0, top // factor))
    assert small is not None
    return small


def _convert(image: Image.Image, spec: InputSpec, key: transparency.Key | None) -> Image.Image:
    if image.has_transparency_data:
        image = transparency.flatten(image, key, spec.background, grey=spec.channels == 1)
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return _in_mode(image, _mode(spec.channels))


def _mode(channels: int) -> str:
    return "L" if channels == 1 else "RGB"


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Pillow's convert copies even where there is nothing to convert."""
    return image if image.mode == mode else image.convert(mode)


def _resize(image: Image.Image, spec: InputSpec, *, on_its_side: bool) -> Image.Image:
    size = (spec.height, spec.width) if on_its_side else (spec.width, spec.height)
    if image.size == size:
        return image
    if spec.resize is Resize.CENTER_CROP:
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR, bleed=(1 - spec.crop) / 2)
    # Of an image of one column and 50 million rows, the weights alone would take 800 MB and 14 s.
    factors = (max(1, image.width // size[0] // _MAX_REDUCTION), max(1, image.height // size[1] // _MAX_REDUCTION))
    if factors != (1, 1):
        image = image.reduce(factors)
    return image.resize(size, Image.Resampling.BILINEAR)
