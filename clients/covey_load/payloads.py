"""What is sent: images from a file or a folder, or generated ones, in batches of as many as go into one call.

All are read, and all batches put together, before the load begins.
"""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey.errors import InvalidInput, MissingFile, UnreadableFile
from covey_proto import image_folders, image_formats
from covey_proto.wording import plural

MAX_IMAGES = 1_024  # different ones; more would measure the client's memory
_MAX_BATCHES = 256
_RANDOM_IMAGES = 64
_MAX_SIDE = 8_192  # pixels
_JPEG = re.compile(r"jpeg:(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images of one call at the model's own size: `[n, *shape]`, uint8 unless the model takes other numbers."""

    array: NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Files:
    """Image files of one call, and their names."""

    contents: list[bytes]
    names: list[str]


Batch = Pixels | Files


@dataclass(frozen=True, slots=True)
class Payload:
    """What goes into the calls, in turn; `description` is for people."""

    batches: list[Batch]
    description: str


def make(source: str, images: int, shape: Sequence[int], datatype: str, seed: int) -> Payload:
    """Batches of `images` each.

    `source` is Plan's `payload`. `shape` and `datatype` (an Open Inference Protocol name) are those of one image of the
    model; they matter where pixels are sent.

    Raises InvalidInput where there is nothing to send, or it does not fit the model.
    """
    if source == "random":
        return _of_pixels(_random(shape, datatype, max(images, _RANDOM_IMAGES), seed), images, "random")
    if match := _JPEG.fullmatch(source):
        width, height = int(match[1]), int(match[2])
        if not 1 <= min(width, height) <= max(width, height) <= _MAX_SIDE:
            raise InvalidInput(f"--payload {source}: expected a width and a height from 1 to {_MAX_SIDE}")
        return _of_files(_random_jpegs(width, height, seed), images, f"JPEG files of {width} x {height}, made up")
    path = Path(source)
    if path.suffix == ".npy":
        return _of_pixels(_read_array(path, shape, datatype), images, path.name)
    files, left_out = _read_files(path)
    without = f" (left out {image_folders.counted(left_out)})" if left_out else ""
    return _of_files(files, images, f"{len(files)} image files of {path.name}{without}")


def _random(shape: Sequence[int], datatype: str, count: int, seed: int) -> NDArray[np.generic]:
    generator = np.random.default_rng(seed)
    if datatype == "UINT8":
        return generator.integers(0, 256, (count, *shape), np.uint8)
    if datatype in ("FP32", "FP16", "FP64"):
        return generator.random((count, *shape)).astype(f"f{int(datatype[2:]) // 8}")
    raise InvalidInput(f"the model takes {datatype}; random pixels are made for UINT8, FP16, FP32 and FP64")


def _random_jpegs(width: int, height: int, seed: int) -> dict[str, bytes]:
    try:
        from PIL import Image
    except ImportError as error:
        raise InvalidInput("--payload jpeg:... needs Pillow: pip install 'covey-serve[load]' pillow") from error
    generator = np.random.default_rng(seed)
    files = {}
    for number in range(16):
        coarse = generator.integers(0, 256, (max(height // 16, 2), max(width // 16, 2), 3), np.uint8)
        content = io.BytesIO()
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(content, "JPEG", quality=85)
        files[f"made up {number}"] = content.getvalue()
    return files


def _read_array(path: Path, shape: Sequence[int], datatype: str) -> NDArray[np.generic]:
    try:
        array: NDArray[np.generic] = np.load(path, mmap_mode="r", allow_pickle=False)[:MAX_IMAGES]
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: not found") from error
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path}: is no .npy file ({error})") from error
    expected = "UINT8" if array.dtype == np.uint8 else f"FP{array.dtype.itemsize * 8}"
    if array.shape[1:] != tuple(shape) or expected != datatype or not len(array):
        raise InvalidInput(
            f"{path}: holds {array.dtype} {list(array.shape)}; the model takes {datatype} [N, {_by_comma(shape)}]"
        )
    return np.ascontiguousarray(array)


def _read_files(path: Path) -> tuple[dict[str, bytes], Counter[str]]:
    """The image files by path, and the kinds of the other files beside them."""
    left_out: Counter[str] = Counter()
    if path.is_dir():
        listing = image_folders.find(path)
        if not listing.files:
            beside = f"; it holds {image_folders.counted(listing.left_out)}" if listing.left_out else ""
            raise InvalidInput(f"{path}: holds no image file ({image_formats.suffixes()}){beside}")
        paths, left_out = listing.files[:MAX_IMAGES], listing.left_out
    else:
        paths = [path]
    try:
        return {str(file): file.read_bytes() for file in paths}, left_out
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: not found; --payload takes random, jpeg:WxH, an .npy file or a folder") from error
    except OSError as error:
        raise UnreadableFile(f"{error.filename}: cannot be read ({error.strerror})") from error


def _of_pixels(array: NDArray[np.generic], images: int, origin: str) -> Payload:
    size = " x ".join(map(str, array.shape[1:]))
    description = f"{size} {array.dtype}, {origin}; {plural(array[0].nbytes, 'byte')} an image"
    return Payload([Pixels(array[indices]) for indices in _places(len(array), images)], description)


def _of_files(files: dict[str, bytes], images: int, origin: str) -> Payload:
    names = list(files)
    mean_bytes = sum(map(len, files.values())) / len(files)
    batches: list[Batch] = []
    for indices in _places(len(names), images):
        batch_names = [names[index] for index in indices]
        batches.append(Files([files[name] for name in batch_names], batch_names))
    return Payload(batches, f"{origin}; {mean_bytes:,.0f} bytes on average")


def _places(available: int, images: int) -> Iterator[list[int]]:
    """The indices of each batch: all images once, in order, then again from the first one on."""
    indices = itertools.cycle(range(available))
    for _ in range(min(max(available // images, 1), _MAX_BATCHES)):
        yield list(itertools.islice(indices, images))


def _by_comma(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
