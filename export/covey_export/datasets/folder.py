"""The data set `folder:PATH`: one's own images, one folder per class.

    PATH/train/cat/1.jpg ...  and  PATH/test/cat/7.jpg ...      the split is given
    PATH/cat/1.jpg ...                                          a seeded 80/20 split of each class

Images are read by the server's own code, so that a model meets in production what it met in training.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from covey_export.datasets.dataset import Dataset, Images, Labels
from covey_export.datasets.entry import Entry
from covey_export.errors import InvalidDataset, MissingDataset
from covey_server.errors import CoveyServerError
from covey_server.images import InputSpec, decode

PREFIX = "folder:"
_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif"}
_SPLIT_SEED = 0  # not the training's seed: the test set must be the same for every training
_TEST_SHARE = 0.2

_Files = dict[str, list[Path]]  # by class, both in alphabetical order


class Folder(Entry):
    """The images below one folder."""

    image_shape = None
    summary = "one folder per class; train/ and test/, or an 80/20 split"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{PREFIX}{path.resolve().name}"  # without the place: it is written into models

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        del data_dir
        train, test = self._files()
        labels = tuple(train)
        (train_images, train_labels), (test_images, test_labels) = (_read(part, labels, spec) for part in (train, test))
        return Dataset(
            self.name, labels, train_images, train_labels, test_images, test_labels, licence="not known to Covey"
        )

    def availability(self, data_dir: Path | None) -> str:
        return str(self.path)

    def _files(self) -> tuple[_Files, _Files]:
        if not self.path.is_dir():
            raise MissingDataset(f"{self.path} is no folder; expected one folder per class of images in it")
        halves = [self.path / "train", self.path / "test"]
        if all(half.is_dir() for half in halves):
            train, test = (_list_classes(half) for half in halves)
            if train.keys() != test.keys():
                differing = ", ".join(sorted(train.keys() ^ test.keys()))
                raise InvalidDataset(f"{self.path}: train/ and test/ hold different classes: {differing}")
            return train, test
        if any(half.is_dir() for half in halves):
            raise InvalidDataset(f"{self.path}: expected both train/ and test/, or one folder per class and neither")
        return _split(_list_classes(self.path))


def _list_classes(folder: Path) -> _Files:
    classes = {
        child.name: sorted(file for file in child.iterdir() if _is_image(file))
        for child in sorted(folder.iterdir())
        if child.is_dir() and not child.name.startswith(".")
    }
    if len(classes) < 2:
        raise InvalidDataset(
            f"{folder}: expected a folder of images for each of two or more classes, found {len(classes)}"
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise InvalidDataset(f"{folder}: no images ({', '.join(sorted(_SUFFIXES))}) in {', '.join(empty)}")
    return classes


def _is_image(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")


def _split(classes: _Files) -> tuple[_Files, _Files]:
    random = np.random.default_rng(_SPLIT_SEED)
    train: _Files = {}
    test: _Files = {}
    for name, files in classes.items():
        if len(files) < 2:
            raise InvalidDataset(f"class {name} has one image; at least two are needed, to train with and to test with")
        order = random.permutation(len(files))
        tested = max(1, round(_TEST_SHARE * len(files)))
        test[name] = [files[place] for place in sorted(order[:tested])]
        train[name] = [files[place] for place in sorted(order[tested:])]
    return train, test


def _read(classes: _Files, labels: tuple[str, ...], spec: InputSpec) -> tuple[Images, Labels]:
    def read(path: Path) -> Images:
        try:
            return decode(path.read_bytes(), spec)
        except CoveyServerError as error:
            raise InvalidDataset(f"{path}: {error}") from error

    paths = [path for name in labels for path in classes[name]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = np.stack(list(pool.map(read, paths)))
    return images, np.repeat(np.arange(len(labels), dtype=np.int64), [len(classes[name]) for name in labels])
