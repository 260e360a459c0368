"""Encoded image bytes to an array of a model's input size. The same code prepares the training images of
`folder:` data sets, so that a model meets in production what it met in training.

Limits are checked on the file's header, before a pixel is decoded. Owns no threads and no transport.
docs/decoding.md says what was measured and why each step stands where it does.
"""

from __future__ import annotations

import enum
import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from covey_proto.colours import Colour
from covey_server import transparency
from covey_server.errors import ImageTooLarge, InvalidImage

# No other parser of Pillow's can be reached by a caller, and no first request waits for one of these to be imported.
FORMATS = tuple(str(kind.format) for kind in (JpegImageFile, PngImageFile, WebPImageFile, GifImageFile))
DEFAULT_MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit would speak first, without the numbers; decode() has its own
# One file can make Pillow warn thousands of times, each time with another text: the log and the list of warnings
# already shown would grow at a caller's will.
warnings.filterwarnings("ignore", module=r"PIL\.")
# Of one JPEG. Real ones have about ten; each costs a pass over all pixels and can be ten bytes long, so that a file
# of 64 MB could ask for hours. 64 over 50 million pixels take two seconds.
MOST_SCANS = 64
# By which Pillow reads one file. Each segment of a header takes about four, at some microseconds and with the GIL
# held; a large photograph takes hundreds, a PNG of 64 MB in pieces of 8 KB about 25,000.
MOST_READS = 100_000
_LARGE_BYTES = 100_000  # of a file: smaller ones cannot hold enough segments to be worth counting

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


class Resize(enum.Enum):
    """How an image comes to the model's height and width."""

    STRETCH = "stretch"  # whatever its aspect ratio
    CENTER_CROP = "center_crop"  # the largest centred part of the right aspect ratio, then resized


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


def decode(data: bytes, spec: InputSpec, max_pixels: int = DEFAULT_MAX_PIXELS) -> NDArray[np.uint8]:
    """The image in `data`, upright, in the channels and size of `spec`: `[H, W, C] uint8`.

    Transparent pixels show the background of `spec`, 16-bit grey keeps its upper 8 bits, an animation gives its first
    frame.

    Raises InvalidImage for bytes that are not a whole JPEG, PNG, WebP or GIF image, ImageTooLarge for more
    than `max_pixels` pixels.
    """
    return np.frombuffer(_pixels(data, spec, max_pixels), np.uint8).reshape(spec.shape)


def decode_into(place: memoryview, data: bytes, spec: InputSpec, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
    """As `decode`, into `place`: writable, contiguous, `spec.nbytes` long. It is written only where all went well."""
    place[:] = _pixels(data, spec, max_pixels)


def _pixels(data: bytes, spec: InputSpec, max_pixels: int) -> bytes:
    image = _open(data, max_pixels)
    try:
        # A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size, never below the size asked for.
        image.draft(None, _draft_size(image.size, spec))
        key = transparency.key(image)
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        flat = image
        if image.has_transparency_data:
            flat = transparency.flatten(image, key, spec.background, grey=spec.channels == 1)
        small = _resize(_reduce(_convert(flat, spec.channels), spec), spec, on_its_side=orientation in _ON_ITS_SIDE)
        # Turned last, as it copies; grey has waited until now, as resizing one channel gives the same pixels as
        # resizing three equal ones.
        upright = small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small
        return _in_mode(upright, _mode(spec.channels)).tobytes()
    except MemoryError:
        raise  # the server's trouble, not the image's
    except Exception as error:
        raise InvalidImage(
            f"the {image.format} image of {len(data):,} bytes is damaged or cut off ({error}); send the whole file"
        ) from error


class _BoundedFile(io.BytesIO):
    """The bytes of an image. A file of millions of tiny segments is given up on, not read to its end."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MOST_READS:
            raise OSError(f"made of more than {MOST_READS // 4:,} pieces")
        return super().read(size)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    if not data:
        raise InvalidImage("the image is empty (0 bytes); send a JPEG, PNG, WebP or GIF file")
    file = _BoundedFile(data) if len(data) > _LARGE_BYTES else io.BytesIO(data)
    try:
        image = Image.open(file, formats=FORMATS)
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
    if isinstance(image, JpegImageFile):
        _refuse_many_scans(image, data, file.tell())
    return image


def _refuse_many_scans(image: JpegImageFile, data: bytes, position: int) -> None:
    """`position` is where Pillow stopped: behind the header of the first scan."""
    # Where that scan holds all components the decoder takes no other; so it is with nearly every file, and the
    # count, which reads all bytes, is left out.
    size = 6 + 2 * image.layers
    header = b"\xff\xda" + size.to_bytes(2, "big") + bytes((image.layers,))
    if not image.info.get("progressive") and data.startswith(header, position - size - 2):
        return
    scans = data.count(b"\xff\xda")
    if scans > MOST_SCANS:
        raise InvalidImage(
            f"the JPEG image of {len(data):,} bytes has {scans:,} scans, at most {MOST_SCANS} are decoded here "
            f"(progressive images have about ten); save it again as a baseline JPEG"
        )


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
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip it at 255
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    return _in_mode(image, _mode(channels))


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
    return image.resize(size, Image.Resampling.BILINEAR)
