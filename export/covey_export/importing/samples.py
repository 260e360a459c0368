"""The images that an import is compared on: those of a folder, read by the server's own code, or made ones."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from covey_export.errors import InvalidSamples
from covey_proto import image_folders
from covey_proto.wording import listed, plural
from covey_server.errors import CoveyServerError
from covey_server.images import image_formats
from covey_server.images.pixels import DEFAULT_MAX_PIXELS, InputSpec, decode

MADE = 8
MAX_IMAGES = 500  # of a folder; of more, every n-th
_MAX_BYTES = 512 * 2**20  # of decoded images
_SEED = 17

Images = NDArray[np.uint8]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Files:
    """Images of a folder. `classes` are the names of its folders, alphabetically; `class_of` says of which one each
    file is. Both are empty where images lie directly in it."""

    folder: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...]
    class_of: tuple[int, ...]
    left_out: int

    @property
    def is_labelled(self) -> bool:
        return bool(self.classes)


@dataclass(frozen=True, eq=False)
class Samples:
    """`images` `[N, H, W, C] uint8`; `labels` `[N]` are outputs' indices, -1: not known; None: of none."""

    images: Images
    labels: NDArray[np.int64] | None
    is_made: bool
    unreadable: tuple[str, ...] = ()


def find(folder: Path, limit: int = MAX_IMAGES) -> Files:
    """The images in `folder`, or in one folder per class in it. Raises InvalidSamples."""
    if not folder.is_dir():
        raise InvalidSamples(f"{folder} is no folder; expected one with images in it, or with one folder per class")
    formats = image_formats.available()
    classes = sorted(
        (child for child in folder.iterdir() if child.is_dir() and not image_folders.is_hidden(child.name)),
        key=lambda child: child.name,
    )
    by_class = {child: found for child in classes if (found := image_folders.find(child, formats).files)}
    everything = image_folders.find(folder, formats)
    if not everything.files:
        left_out = image_folders.counted(everything.left_out)
        raise InvalidSamples(
            f"{folder}: expected images, found none"
            + (f"; left out {left_out}" if left_out else "")
            + ". Name a folder "
            "of JPEG or PNG files, or of one folder per class"
        )
    nested = sum(map(len, by_class.values()))
    if not by_class or nested < len(everything.files):  # images lie beside the folders: they are no classes
        files = _every_nth(everything.files, limit)
        return Files(folder, tuple(files), (), (), len(everything.files) - len(files))
    share = max(1, limit // len(by_class))
    taken = {child: _every_nth(found, share) for child, found in by_class.items()}
    return Files(
        folder,
        tuple(file for found in taken.values() for file in found),
        tuple(unicodedata.normalize("NFC", child.name) for child in taken),
        tuple(place for place, found in enumerate(taken.values()) for _ in found),
        nested - sum(map(len, taken.values())),
    )


def match(classes: Sequence[str], labels: Sequence[str]) -> list[int]:
    """The output of each class's folder; -1 where none is named so.

    A folder may be named as the label, in other case or with _ for spaces; as one of several names that a label has
    ("tench, Tinca tinca"); or as the output's number.
    """
    exact = {label: place for place, label in enumerate(labels)}
    if all(name in exact for name in classes):
        return [exact[name] for name in classes]
    folded: dict[str, int] = {}
    for place, label in enumerate(labels):
        for each in (label, *label.split(",")):
            folded.setdefault(_folded(each), place)
    found = [exact.get(name, folded.get(_folded(name), -1)) for name in classes]
    if max(found, default=-1) < 0 and all(name.isdecimal() and int(name) < len(labels) for name in classes):
        return [int(name) for name in classes]
    return found


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def read(files: Files, spec: InputSpec, outputs: Sequence[int] | None = None) -> Samples:
    """`outputs`: the output of each class, as `match` gives it. Raises InvalidSamples where no file can be read, or all
    do not fit into memory."""
    formats = image_formats.available()
    if len(files.files) * spec.nbytes > _MAX_BYTES:
        files = _fewer(files, max(1, _MAX_BYTES // spec.nbytes))
    images = np.zeros((len(files.files), *spec.shape), np.uint8)

    def read_one(place: int) -> str | None:
        try:
            images[place] = decode(files.files[place].read_bytes(), spec, DEFAULT_MAX_PIXELS, formats)
        except (CoveyServerError, OSError) as error:
            return f"{files.files[place].relative_to(files.folder)}: {error}"
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(pool.map(read_one, range(len(files.files))))
    good = np.array([place for place, problem in enumerate(problems) if problem is None], np.int64)
    unreadable = tuple(problem for problem in problems if problem is not None)
    if not len(good):
        raise InvalidSamples(
            f"{files.folder}: none of its {plural(len(files.files), 'image')} can be read: {listed(unreadable[:3])}"
        )
    labels = None
    if files.is_labelled and outputs is not None:
        labels = np.array(outputs, np.int64)[np.array(files.class_of, np.int64)[good]]
    return Samples(images[good], labels, False, unreadable)


def _fewer(files: Files, limit: int) -> Files:
    kept = _every_nth(range(len(files.files)), limit)
    class_of = tuple(files.class_of[place] for place in kept) if files.is_labelled else ()
    left_out = files.left_out + len(files.files) - len(kept)
    return Files(files.folder, tuple(files.files[place] for place in kept), files.classes, class_of, left_out)


def _every_nth(values: Sequence[_T], limit: int) -> list[_T]:
    """No more than `limit`, spread over all."""
    if len(values) <= limit:
        return list(values)
    return [values[place * len(values) // limit] for place in range(limit)]


def make(shape: tuple[int, int, int], count: int = MADE) -> Samples:
    """The same images at every call: smooth colours, edges and noise, dark and bright ones."""
    height, width, channels = shape
    chance = np.random.default_rng(_SEED)
    rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    images = []
    for place in range(count):
        across, down, turn = chance.uniform(0.5, 4, (3, channels))
        smooth = 0.5 + 0.5 * np.sin(2 * np.pi * (across * columns + down * rows + turn))
        y, x = chance.integers(0, max(1, height // 2)), chance.integers(0, max(1, width // 2))
        smooth[y : y + max(1, height // 3), x : x + max(1, width // 3)] = chance.uniform(0, 1, channels)
        noise = chance.normal(0, 0.02 + 0.1 * (place % 3), shape)
        bright = 0.35 + 0.65 * (place % 4) / 3
        images.append((255 * (smooth * bright + noise)).clip(0, 255).astype(np.uint8))
    return Samples(np.stack(images), None, True)
