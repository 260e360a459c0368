"""Labelled images that a canary has to pass before it answers anybody: `DIR/CLASS/*.png`, as `folder:` data sets have
them. Where DIR has a folder of the model's name, its images are in there.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_proto import image_folders
from covey_proto.captures import folder_name
from covey_proto.image_formats import Format
from covey_server.errors import CoveyServerError, ImageTooLarge, InvalidConfiguration, InvalidImage
from covey_server.images.pixels import decode
from covey_server.inference.served_model import ServedModel
from covey_server.system.regular_files import read_regular

MAX_LOSS = 0.01  # of accuracy, where --max-accuracy-loss says no other
_BATCH = 32
_MAX_FILE_BYTES = 64 << 20
_PARTS = {"train", "test"}


class UnusableGate(CoveyServerError):
    """The folder holds no images that this model could be tested with."""


class Passed(NamedTuple):
    """How many images each of some models got right, and of how many."""

    right: tuple[int, ...]
    of: int


class Gate:
    """The folder. It is read anew for each canary."""

    def __init__(self, folder: Path, max_pixels: int, formats: Sequence[Format]) -> None:
        """Raises InvalidConfiguration."""
        if not folder.is_dir():
            raise InvalidConfiguration(f"--canary-gate {folder}: expected a folder of images, DIR/CLASS/1.png")
        self._folder = folder
        self._max_pixels = max_pixels
        self._formats = formats

    def test(self, models: Sequence[ServedModel], stopped: Callable[[], bool]) -> Passed | None:
        """Runs all images on models of one name and the same labels. Images that cannot be read are passed over. None
        once `stopped`. Raises UnusableGate, EngineFailed."""
        right, of = [0] * len(models), 0
        files = [
            (path, label)
            for folder, label in self._classes(models[0])
            for path in image_folders.find(folder, self._formats).files
        ]
        for start in range(0, len(files), _BATCH):
            if stopped():
                return None
            read = [(data, label) for path, label in files[start : start + _BATCH] for data in _read(path)]
            labels: list[int] = []
            rows: list[list[NDArray[np.uint8]]] = [[] for _ in models]
            for data, label in read:
                try:
                    decoded = [decode(data, model.input, self._max_pixels, self._formats) for model in models]
                except (InvalidImage, ImageTooLarge):
                    continue
                labels.append(label)
                for row, pixels in zip(rows, decoded, strict=True):
                    row.append(pixels)
            if labels:
                of += len(labels)
                for place, model in enumerate(models):
                    right[place] += int((model.run(np.stack(rows[place])).argmax(axis=1) == labels).sum())
        if not of:
            raise UnusableGate(f"{self._folder} holds no image that can be read")
        return Passed(tuple(right), of)

    def _classes(self, model: ServedModel) -> Iterator[tuple[Path, int]]:
        places = {
            _plain(name): place for place, label in enumerate(model.labels) for name in (folder_name(label), label)
        }
        root = self._folder / model.name if (self._folder / model.name).is_dir() else self._folder
        try:
            folders = _folders(root)
            if {each.name for each in folders} == _PARTS and not places.keys() >= _PARTS:
                folders = _folders(root / "test")
        except OSError as error:
            raise UnusableGate(f"{root} cannot be read: {error.strerror or error}") from error
        for folder in folders:
            if _plain(folder.name) not in places:
                raise UnusableGate(f"{folder} is named as none of the model's labels")
            yield folder, places[_plain(folder.name)]


def _folders(root: Path) -> list[Path]:
    with os.scandir(root) as entries:
        return sorted(Path(each.path) for each in entries if each.is_dir() and not image_folders.is_hidden(each.name))


def _plain(name: str) -> str:
    """macOS writes "é" as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def _read(path: Path) -> Iterator[bytes]:
    try:
        yield read_regular(path, _MAX_FILE_BYTES)
    except OSError:
        return
