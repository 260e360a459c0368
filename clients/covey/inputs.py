"""What a caller hands over as images -> encoded files and packed pixels, in as few parts as requests allow.

Nothing is resized or re-encoded with loss: files travel as they are, arrays as raw pixels, PIL images as PNG. (Unless
the caller asked for images to be made smaller before they are sent: see covey.downscaling.)
Whether bytes really are an image is for the server to judge. Knows nothing of protobuf or gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from covey import arrays, downscaling, pillow
from covey.errors import InvalidInput, MissingFile, UnreadableFile, UnsupportedInput
from covey.results import InputSize
from covey_proto import image_formats

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    EncodedImage: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | PILImage
    Image: TypeAlias = EncodedImage | NDArray[np.uint8]


@dataclass(slots=True)
class EncodedPart:
    """Image files, the places of their answers in the caller's list, and their names for error messages."""

    places: Sequence[int]
    names: Sequence[str]  # the path, or "" where there is none
    files: Sequence[bytes]

    @property
    def nbytes(self) -> int:
        return sum(map(len, self.files))


@dataclass(slots=True)
class PixelsPart:
    """`len(places)` images of `height x width x channels` bytes each, one after the other."""

    places: Sequence[int]
    data: bytes
    height: int
    width: int
    channels: int

    @property
    def nbytes(self) -> int:
        return len(self.data)


_MAX_FILES = 65_000  # in one request: servers take 65,536 fields


class _File(NamedTuple):
    name: str
    data: bytes


def is_many(images: object) -> bool:
    """Whether `images` is answered by a list: it is a list, a tuple, or an `[N, H, W, C]` array."""
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


def may_wait(images: object) -> bool:
    """Whether reading `images` may take long: files to open, images to encode. Bytes and arrays are at hand."""
    if isinstance(images, (list, tuple)):
        return any(map(may_wait, images))
    return not isinstance(images, (np.ndarray, bytes, bytearray, memoryview))


def read(images: object, size: InputSize | None = None) -> list[EncodedPart | PixelsPart]:
    """Reads `images` into one part; into two where files and arrays are mixed, as a request carries either.

    `size`: large images are made smaller first, to what a model of that input size makes use of.

    Raises InvalidInput or one of its subclasses. The message names the path, or the place in the list.
    """
    if isinstance(images, (list, tuple)):
        return _read_list(images, size)
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return [_pixels_part(range(len(images)), [arrays.checked(images)])]
    return [read_one(images, size)]


def read_one(image: object, size: InputSize | None = None) -> EncodedPart | PixelsPart:
    """Reads one image, given alone. Raises as `read`."""
    found = _read_one(image, size)
    if isinstance(found, _File):
        return EncodedPart((0,), (found.name,), (found.data,))
    height, width, channels = found.shape
    return PixelsPart((0,), found.tobytes(), height, width, channels)


def split(part: EncodedPart | PixelsPart, max_bytes: int, image_bytes: int) -> list[EncodedPart | PixelsPart]:
    """`part` in pieces of at most `max_bytes`, both as sent and as decoded, to `image_bytes` per image.

    Raises InvalidInput where one image alone has more.
    """
    if isinstance(part, PixelsPart):
        one = part.height * part.width * part.channels
        count = max_bytes // one
        if not count:
            raise _too_large(f"images[{part.places[0]}]", one, max_bytes)
        pieces = [part.places[start : start + count] for start in range(0, len(part.places), count)]
        return [
            PixelsPart(
                places, part.data[n * count * one : (n + 1) * count * one], part.height, part.width, part.channels
            )
            for n, places in enumerate(pieces)
        ]
    parts: list[EncodedPart | PixelsPart] = []
    start = sent = 0
    framed = 8  # bytes around each file in a request, at the most
    most_images = max(1, min(_MAX_FILES, max_bytes // max(1, image_bytes)))
    for place, file in enumerate(part.files):
        if len(file) > max_bytes:
            raise _too_large(f"images[{part.places[place]}]", len(file), max_bytes)
        if place > start and (sent + len(file) + framed > max_bytes or place - start == most_images):
            parts.append(EncodedPart(part.places[start:place], part.names[start:place], part.files[start:place]))
            start, sent = place, 0
        sent += len(file) + framed
    return [*parts, EncodedPart(part.places[start:], part.names[start:], part.files[start:])]


def require_fits(part: EncodedPart | PixelsPart, max_bytes: float) -> None:
    """Raises InvalidInput where the one image of `part` has more than `max_bytes`."""
    if part.nbytes > max_bytes:
        name = part.names[0] if isinstance(part, EncodedPart) else ""
        raise _too_large(name or "the image", part.nbytes, max_bytes)


def _too_large(title: str, size_bytes: int, max_bytes: float) -> InvalidInput:
    return InvalidInput(
        f"{title}: has {size_bytes:,} bytes, the server takes {max_bytes:,} in one request; make it smaller, "
        f"or start the server with a larger --max-message-bytes"
    )


def _read_list(images: Sequence[object], size: InputSize | None) -> list[EncodedPart | PixelsPart]:
    if not images:
        raise InvalidInput(f"no images: the {type(images).__name__} is empty")
    files: dict[int, _File] = {}
    pixels: dict[int, NDArray[np.uint8]] = {}
    for place, given in enumerate(images):
        try:
            image = _read_one(given, size)
        except InvalidInput as error:
            raise type(error)(f"images[{place}]: {error}") from (error.__cause__ or error)
        if isinstance(image, _File):
            files[place] = image
        else:
            pixels[place] = image
    parts: list[EncodedPart | PixelsPart] = []
    if files:
        names, contents = zip(*files.values(), strict=True)
        parts.append(EncodedPart(tuple(files), names, contents))
    if pixels:
        arrays.check_same_shape(pixels)
        parts.append(_pixels_part(tuple(pixels), list(pixels.values())))
    return parts


def _pixels_part(places: Sequence[int], pixels: Sequence[NDArray[np.uint8]]) -> PixelsPart:
    height, width, channels = pixels[0].shape[-3:]
    return PixelsPart(places, b"".join([array.tobytes() for array in pixels]), height, width, channels)


def _read_one(image: object, size: InputSize | None) -> _File | NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return arrays.one_image(image)
    if size is not None and pillow.is_image(image):
        return _File("", downscaling.to_png(image, size))
    file = _read_encoded(image)
    return file if size is None else _File(file.name, downscaling.smaller_file(file.data, size))


def _read_encoded(image: object) -> _File:
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _File("", _not_empty("the image", bytes(image)))
    if isinstance(image, (str, os.PathLike)):
        return _read_file(os.fsdecode(image))
    if pillow.is_image(image):
        return _File("", pillow.to_png(image))
    if callable(read := getattr(image, "read", None)):
        return _read_open_file(read, str(getattr(image, "name", "")))
    raise UnsupportedInput(
        f"cannot classify a value of type {type(image).__name__}; give a path, the bytes of an image file, "
        f"an open file, a uint8 NumPy array, a PIL image, or a list of these"
    )


def _read_open_file(read: Callable[[], object], name: str) -> _File:
    title = name or "the open file"
    try:
        data = read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise UnreadableFile(f"{title}: cannot be read ({error})") from error
    if not isinstance(data, bytes):
        raise UnsupportedInput(f"{title}: gives {type(data).__name__}, not bytes; open it with mode 'rb'")
    if not data:
        raise InvalidInput(f"{title}: gives 0 bytes; if it was read before, go back with seek(0)")
    return _File(name, data)


def _read_file(path: str) -> _File:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        hint = "; it is an address, and images are read from files: download it first" if "://" in path else ""
        raise MissingFile(f"{path}: there is no such file{hint}") from error
    except IsADirectoryError as error:
        raise UnreadableFile(f"{path}: is a folder; give its files") from error
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a NUL in the path
        raise InvalidInput(f"{path!r}: is no path ({error})") from error
    return _File(path, _not_empty(path, data))


def _not_empty(name: str, data: bytes) -> bytes:
    if not data:
        raise InvalidInput(f"{name}: is empty (0 bytes); give a whole {image_formats.listed()} file")
    return data
