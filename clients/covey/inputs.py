"""What a caller hands over as images -> encoded files and packed pixels, in as few parts as requests allow.

Nothing is resized or re-encoded with loss: files travel as they are, arrays as raw pixels, PIL images as PNG.
Whether bytes really are an image is for the server to judge. Knows nothing of protobuf or gRPC.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from covey import arrays, pillow
from covey.errors import InvalidInput, MissingFile, UnreadableFile, UnsupportedInput

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    EncodedImage: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | PILImage
    Image: TypeAlias = EncodedImage | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """Image files, the places of their answers in the caller's list, and their names for error messages."""

    places: Sequence[int]
    names: Sequence[str]  # the path, or "" where there is none
    files: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class PixelsPart:
    """`len(places)` images of `height x width x channels` bytes each, one after the other."""

    places: Sequence[int]
    data: bytes
    height: int
    width: int
    channels: int


class _File(NamedTuple):
    name: str
    data: bytes


def is_many(images: object) -> bool:
    """Whether `images` is answered by a list: it is a list, a tuple, or an `[N, H, W, C]` array."""
    return isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)


def read(images: object) -> list[EncodedPart | PixelsPart]:
    """Reads `images` into one part; into two where files and arrays are mixed, as a request carries either.

    Raises InvalidInput or one of its subclasses. The message names the path, or the place in the list.
    """
    if isinstance(images, (list, tuple)):
        return _read_list(images)
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return [_pixels_part(range(len(images)), [arrays.checked(images)])]
    image = _read_one(images)
    if isinstance(image, _File):
        return [EncodedPart((0,), (image.name,), (image.data,))]
    return [_pixels_part((0,), [image])]


def _read_list(images: Sequence[object]) -> list[EncodedPart | PixelsPart]:
    if not images:
        raise InvalidInput(f"no images: the {type(images).__name__} is empty")
    files: dict[int, _File] = {}
    pixels: dict[int, NDArray[np.uint8]] = {}
    for place, given in enumerate(images):
        try:
            image = _read_one(given)
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


def _read_one(image: object) -> _File | NDArray[np.uint8]:
    if isinstance(image, np.ndarray):
        return arrays.one_image(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _File("", _not_empty("the image", bytes(image)))
    if isinstance(image, (str, os.PathLike)):
        return _read_file(os.fsdecode(image))
    if pillow.is_image(image):
        return _File("", pillow.to_png(image))
    raise UnsupportedInput(
        f"cannot classify a value of type {type(image).__name__}; give a path, the bytes of an image file, "
        f"a uint8 NumPy array, a PIL image, or a list of these"
    )


def _read_file(path: str) -> _File:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise UnreadableFile(f"{path}: is a folder; give its files") from error
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a NUL in the path
        raise InvalidInput(f"{path!r}: is no path ({error})") from error
    return _File(path, _not_empty(path, data))


def _not_empty(name: str, data: bytes) -> bytes:
    if not data:
        raise InvalidInput(f"{name}: is empty (0 bytes); give a whole JPEG, PNG, WebP or GIF file")
    return data
