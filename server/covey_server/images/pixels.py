"""Encoded image bytes to an array of a model's input size. The same code prepares the training images of `folder:` data
sets, so that a model gets in production what it got in training.

Limits are checked on the file's header, which `headers` reads, before a pixel is decoded. docs/decoding.md has the
measurements and the reasons for the order of the steps.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from covey_proto import image_formats as table
from covey_proto.image_formats import Format
from covey_server.errors import ImageTooLarge, InvalidImage
from covey_server.images import file_kinds, headers, image_formats, jpeg_decoder, png_decoder, resizing, transparency
from covey_server.images.headers.header import Header, damaged
from covey_server.images.input_spec import InputSpec as InputSpec

DEFAULT_MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would raise first, without the numbers; read_header has its own
# One file can make Pillow warn thousands of times, each time with another text: a caller could make the log and the
# list of known warnings grow without end.
warnings.filterwarnings("ignore", module=r"PIL\.")
_STRIP_PIXELS = 1 << 18  # converted at a time
_DRAFTS = (8, 4, 2)  # a JPEG can be decoded at one of these parts of its size


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
    """As `decode`, into `place`: writable, contiguous, `spec.nbytes` long. If it raises, `place` is unchanged."""
    place[:] = _pixels(header, spec)


def read_header(
    data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS, formats: Collection[Format] = table.DEFAULT
) -> Header:
    """Reads a file's header, before a pixel is decoded. Raises InvalidImage or ImageTooLarge."""
    if not data:
        raise InvalidImage(f"the image is empty (0 bytes); send a {table.listed(formats)} file", "empty")
    format = table.identify(data)
    if format is None or format not in formats:
        description = image_formats.describe_not_decoded(format, formats) if format else file_kinds.describe(data)
        raise InvalidImage(
            f"not a {table.listed(formats)} image: the {len(data):,} bytes are {description}",
            "format_off" if format else "unknown_format",
        )
    header = headers.read(data, format)
    if header.pixels > max_pixels:
        raise ImageTooLarge(
            f"the image is {header.width} x {header.height} = {header.pixels:,} pixels, at most {max_pixels:,} are "
            f"decoded here; scale it down before sending (the model sees a small image anyway)",
            "too_large",
        )
    return header


def needed_bytes(header: Header, spec: InputSpec) -> int:
    """The peak memory of decoding, a little more than was measured: docs/decoding.md has the figures."""
    draft = _draft(header, spec)
    factor = draft * _factor((header.width // draft, header.height // draft), spec)
    width, height = header.width // factor + 1, header.height // factor + 1
    channel_bytes = 1 if spec.channels == 1 else 4
    # An exact image is turned before it is resized, which copies it; it has the model's channels only by then.
    pixel_bytes = max(header.pixel_bytes, channel_bytes) if spec.is_exact else header.pixel_bytes
    return int(
        header.pixels // draft**2 * pixel_bytes
        + header.pixels * header.decoder_bytes
        + len(header.data) * (3 if header.format == "WebP" else 2)
        + width * height * channel_bytes  # in the model's channels
        + 12 * min(header.pixels, _STRIP_PIXELS)
        + resizing.peak_bytes((width, height), spec, channel_bytes)
    )


def _pixels(header: Header, spec: InputSpec) -> bytes:
    try:
        return _in_mode(_resized(header, spec), _mode(spec.channels)).tobytes()
    except MemoryError:
        raise  # the server's problem, not the image's
    except Exception as error:
        raise damaged(header.format, header.file_bytes, str(error)) from error


def _resized(header: Header, spec: InputSpec) -> Image.Image:
    """The upright image in the size of `spec`; grey where it is stored so."""
    file = image_formats.open_image(header)
    # Compared once more: nothing may be allocated for a size that the header's reader did not see.
    if not _has_declared_size(file, header):
        raise OSError(f"its size is {header.width} x {header.height} or {file.width} x {file.height}")
    size, key = file.size, transparency.transparent_colour(file)
    extent = _load(file, header, spec, key)
    orientation = 1
    if not spec.ignore_exif:
        orientation = header.orientation or file.getexif().get(ExifTags.Base.Orientation, 1)
    turn = resizing.UPRIGHT.get(orientation)
    image = _reduce(file, spec, key, factor := _factor(file.size, spec))
    if spec.is_exact:
        del file  # frees what is not needed any more: the next steps make copies
        return resizing.resize_exactly(image if turn is None else image.transpose(turn), spec)
    extent = (extent[0] / factor, extent[1] / factor)
    small = resizing.resize_quickly(image, spec, size=size, extent=extent, orientation=orientation)
    # Turned last, when it is small, as turning copies. A grey image is still of one channel: resizing that gives the
    # same pixels as resizing three equal ones.
    return small if turn is None else small.transpose(turn)


def _load(file: ImageFile, header: Header, spec: InputSpec, key: transparency.Key | None) -> tuple[float, float]:
    """Loads the pixels. Returns the size shown by a JPEG that is made smaller on the way, not rounded up."""
    file.decodermaxblock = len(header.data)  # in one go: it is in memory already
    frame = file.dispose_extent if isinstance(file, GifImageFile) and key is None else None
    extent: tuple[float, float] = file.size
    if header.can_shrink and not spec.is_exact and isinstance(file, JpegImageFile):
        drafted = file.draft(None, _draft_size(file.size, spec))
        extent = drafted[1][2:] if drafted else extent
    if header.scan_end is not None and isinstance(file, JpegImageFile):
        jpeg_decoder.load(file, header.data, header.scan_end)
    elif isinstance(file, PngImageFile):
        png_decoder.load(file, header.data)
    else:
        file.load()
    if frame is not None and spec.background is not None:
        transparency.clear_outside(file, frame, spec.background)
    return extent


def _has_declared_size(image: Image.Image, header: Header) -> bool:
    """Whether the image has the size of its header. A HEIC may be smaller: its parser has cut and turned it already."""
    if header.orientation is None:
        return image.width * image.height <= header.pixels
    return image.size == (header.width, header.height)


def _factor(size: tuple[int, int], spec: InputSpec) -> int:
    """The integer factor by which an image is averaged down before it is resized."""
    return 1 if spec.is_exact else max(1, min(size) // spec.least_side)


def _draft(header: Header, spec: InputSpec) -> int:
    """The factor by which a JPEG is decoded smaller, as Pillow's draft decides by `_draft_size`."""
    factor = _factor((header.width, header.height), spec) if header.can_shrink else 1
    return next((draft for draft in _DRAFTS if draft <= factor), 1)


def _draft_size(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """The least size to decode a JPEG at, also of images that are turned."""
    short = min(size)
    # Draft keeps the aspect ratio: what counts is that the shorter side stays at least as long.
    return (max(1, size[0] * spec.least_side // short), max(1, size[1] * spec.least_side // short))


def _reduce(image: Image.Image, spec: InputSpec, key: transparency.Key | None, factor: int) -> Image.Image:
    """The image in the model's channels and over its background, averaged down by a whole factor: as draft does for
    JPEG."""
    if image.mode in ("L", _mode(spec.channels)) and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image
    if factor == 1 and image.width * image.height <= _STRIP_PIXELS:
        return _convert(image, spec, key)
    # In strips: a converted copy of the whole image would take as much memory again, or four times as much.
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
    """The image in this mode, converted only if needed: Pillow's convert copies in any case."""
    return image if image.mode == mode else image.convert(mode)
