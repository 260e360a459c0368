"""The images that an import is compared on: from a folder or a table, read by the server's own code, or generated."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from covey_export.errors import InvalidSamples
from covey_export.importing.proving import sample_table
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
    """Images of a folder, or of a table of files and labels.

    `classes` are their labels in alphabetical order (a table's numbers by number), `class_of` says of which one each
    file is, `found_at` where each class was found, for people; all three are empty where images have no labels.
    `problems` are rows of the table that are left out, a sentence each.
    """

    place: Path
    files: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    class_of: tuple[int, ...] = ()
    found_at: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        return bool(self.classes)


@dataclass(frozen=True, eq=False)
class Samples:
    """`images` `[N, H, W, C] uint8`; `labels` `[N]` are outputs' indices, -1: not known; None: of none. `left_out` are
    files and rows that could not be used, a sentence each."""

    images: Images
    labels: NDArray[np.int64] | None
    is_made: bool
    left_out: tuple[str, ...] = ()
    place: str = ""  # the name of the folder or table that they come from

    def accuracy(self, probabilities: NDArray[np.float32]) -> float | None:
        """How often the most probable class of `[N, K]` is the label; None for images without labels."""
        return None if self.labels is None else float((probabilities.argmax(axis=1) == self.labels).mean())


def find(place: Path, limit: int = MAX_IMAGES) -> Files:
    """Finds the images in a folder, in one folder per class in it, or in a table of files and labels; of more than
    `limit`, as many that are spread over all. Raises InvalidSamples."""
    if place.is_file() and place.suffix.lower() in sample_table.SUFFIXES:
        table = sample_table.read(place)
        are_numbers = all(map(str.isdecimal, table.files))  # outputs' indices
        by_class = {label: table.files[label] for label in sorted(table.files, key=int if are_numbers else str)}
        return _labelled(place, by_class, table.first_row, limit, table.problems)
    if not place.is_dir():
        problem = "is no folder" if place.exists() else "does not exist"
        raise InvalidSamples(
            f"{place} {problem}; expected a folder of images, one with a folder per class, or a CSV of file and label"
        )
    formats = image_formats.available()
    classes = [child for child in place.iterdir() if child.is_dir() and not image_folders.is_hidden(child.name)]
    by_class = {child.name: files for child in sorted(classes) if (files := image_folders.find(child, formats).files)}
    all_files = image_folders.find(place, formats)
    if not all_files.files:
        left_out = image_folders.counted(all_files.left_out)
        raise InvalidSamples(
            f"{place}: expected images, found none{f'; left out {left_out}' if left_out else ''}. Name a folder of "
            f"JPEG or PNG files, or of one folder per class"
        )
    if not by_class or sum(map(len, by_class.values())) < len(all_files.files):  # images lie beside: no classes
        return Files(place, tuple(_every_nth(all_files.files, limit)))
    return _labelled(place, by_class, {name: f"folder {place / name}" for name in by_class}, limit)


def _labelled(
    place: Path,
    by_class: Mapping[str, Sequence[Path]],
    found_at: Mapping[str, str],
    limit: int,
    problems: tuple[str, ...] = (),
) -> Files:
    share = max(1, limit // len(by_class))
    chosen = {name: _every_nth(by_class[name], share) for name in by_class}
    return Files(
        place,
        tuple(file for files in chosen.values() for file in files),
        tuple(unicodedata.normalize("NFC", name) for name in chosen),
        tuple(number for number, files in enumerate(chosen.values()) for _ in files),
        tuple(found_at[name] for name in chosen),
        problems,
    )


def match(classes: Sequence[str], labels: Sequence[str]) -> list[int]:
    """The output of each class of the samples, -1 where no label has that name.

    A class may be named as the label, in other case or with _ for spaces; as one of several names that a label has
    ("tench, Tinca tinca"); or as the output's number.
    """
    exact = {label: index for index, label in enumerate(labels)}
    if all(name in exact for name in classes):
        return [exact[name] for name in classes]
    folded: dict[str, int] = {}
    for index, label in enumerate(labels):
        for spelling in (label, *label.split(",")):
            folded.setdefault(_folded(spelling), index)
    outputs = [exact.get(name, folded.get(_folded(name), -1)) for name in classes]
    if max(outputs, default=-1) < 0 and all(name.isdecimal() and int(name) < len(labels) for name in classes):
        return [int(name) for name in classes]
    return outputs


def matched(files: Files, labels: Sequence[str]) -> tuple[Files, list[int], list[str]]:
    """The samples, the output of each of their classes (-1: none), and a sentence about each class that is no label.
    Where no folder is named as a label, the images have no labels.

    Raises InvalidSamples for a table of other labels, which is a mistake.
    """
    outputs = match(files.classes, labels)
    unknown = [index for index, output in enumerate(outputs) if output < 0]
    if unknown and len(unknown) == len(outputs):
        if not files.place.is_dir():
            raise InvalidSamples(
                f"{files.place}: expected the network's labels ({listed(labels)}) or their numbers, got "
                f"{listed(files.classes)}"
            )
        without = replace(files, classes=(), class_of=(), found_at=())
        return without, [], [f"no folder in {files.place} is named as a label; its images are taken without labels"]
    sentences = []
    for index in unknown:
        near = difflib.get_close_matches(files.classes[index], labels, n=1)
        suggestion = f" (did you mean {near[0]!r}?)" if near else ""
        problem = f"{files.classes[index]!r} is no label of the network{suggestion}; such images count as wrong"
        sentences.append(f"{files.found_at[index]}: {problem}")
    return files, outputs, sentences


def _folded(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def read(files: Files, spec: InputSpec, outputs: Sequence[int] | None = None) -> Samples:
    """Reads the images. `outputs` is the output of each class, as `match` gives it. Raises InvalidSamples where no file
    can be read, or where they do not fit into memory."""
    formats = image_formats.available()
    if len(files.files) * spec.nbytes > _MAX_BYTES:
        files = _fewer(files, max(1, _MAX_BYTES // spec.nbytes))
    images = np.zeros((len(files.files), *spec.shape), np.uint8)

    def read_one(index: int) -> str | None:
        try:
            images[index] = decode(files.files[index].read_bytes(), spec, DEFAULT_MAX_PIXELS, formats)
        except (CoveyServerError, OSError) as error:
            return f"{_within(files.place, files.files[index])}: {error}"
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(pool.map(read_one, range(len(files.files))))
    readable = np.array([place for place, problem in enumerate(problems) if problem is None], np.int64)
    unreadable = tuple(problem for problem in problems if problem is not None)
    if not len(readable):
        raise InvalidSamples(
            f"{files.place}: none of its {plural(len(files.files), 'image')} can be read: {'; '.join(unreadable[:3])}"
        )
    labels = None
    if files.is_labelled and outputs is not None:
        labels = np.array(outputs, np.int64)[np.array(files.class_of, np.int64)[readable]]
    return Samples(images[readable], labels, False, (*files.problems, *unreadable), files.place.resolve().name)


def _within(place: Path, file: Path) -> Path:
    """A file's path relative to the folder, or to the folder of the table that names it."""
    folder = place if place.is_dir() else place.parent
    return file.relative_to(folder) if file.is_relative_to(folder) else file


def _fewer(files: Files, limit: int) -> Files:
    kept = _every_nth(range(len(files.files)), limit)
    class_of = tuple(files.class_of[index] for index in kept) if files.is_labelled else ()
    return replace(files, files=tuple(files.files[index] for index in kept), class_of=class_of)


def _every_nth(values: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` of the values, spread over all."""
    if len(values) <= limit:
        return list(values)
    return [values[index * len(values) // limit] for index in range(limit)]


def make(shape: tuple[int, int, int], count: int = MADE) -> Samples:
    """Generates the same images at every call: smooth colours, edges and noise, dark and bright ones."""
    height, width, channels = shape
    random = np.random.default_rng(_SEED)
    rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    images = []
    for index in range(count):
        across, down, turn = random.uniform(0.5, 4, (3, channels))
        smooth = 0.5 + 0.5 * np.sin(2 * np.pi * (across * columns + down * rows + turn))
        y, x = random.integers(0, max(1, height // 2)), random.integers(0, max(1, width // 2))
        smooth[y : y + max(1, height // 3), x : x + max(1, width // 3)] = random.uniform(0, 1, channels)
        noise = random.normal(0, 0.02 + 0.1 * (index % 3), shape)
        bright = 0.35 + 0.65 * (index % 4) / 3
        images.append((255 * (smooth * bright + noise)).clip(0, 255).astype(np.uint8))
    return Samples(np.stack(images), None, True)
