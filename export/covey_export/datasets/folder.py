"""The data set `folder:PATH`: a user's own images, one folder per class.

    PATH/train/cat/1.jpg ...  and  PATH/test/cat/7.jpg ...      the split is given
    PATH/cat/1.jpg ...                                          a seeded 80/20 split of each class

A class is named as its folder, in Unicode's composed form (NFC): macOS writes "é" as two characters, others as one,
and both are one class. This module decides which files count; image_files.py reads them with the server's own code, so
that a model gets the same pixels in production as in training.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from covey_export.datasets import image_files
from covey_export.datasets.dataset import Dataset, Labels
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_export.datasets.image_files import ImageFiles
from covey_export.errors import InvalidDataset, MissingDataset
from covey_export.option_values import Unreadable
from covey_proto import image_folders, image_formats
from covey_proto.image_formats import Format
from covey_proto.wording import plural
from covey_server.images import image_formats as image_formats_here
from covey_server.images.pixels import InputSpec

PREFIX = "folder:"
_SPLIT_SEED = 0  # not the training's seed: the test set must be the same for every training
_TEST_SHARE = 0.2
_SHOWN = 10
_NEW_LINE = "\n  "

Files = dict[str, list[Path]]  # by class, both in alphabetical order


class Folder(Entry):
    """The images in one folder. `unreadable` says what happens to files that are no images: with "refuse" they are all
    listed in an error, with "skip" they are left out and listed in the data set's notes."""

    image_shape = None
    summary = "one folder per class; train/ and test/, or an 80/20 split"
    family = Family.UNKNOWN

    def __init__(self, path: Path, unreadable: Unreadable = "refuse") -> None:
        self.path = path
        self.unreadable = unreadable
        self.name = f"{PREFIX}{path.resolve().name}"  # without the place: it is written into models

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        del data_dir
        parts = self._parts()
        names = tuple(parts[0])
        files = [file for part in parts for name in names for file in part[name]]
        image_data = image_files.read(files, spec)
        problems = [f"{files[index].relative_to(self.path)}: {reason}" for index, reason in image_data.problems.items()]
        if problems and self.unreadable == "refuse":
            raise InvalidDataset(
                f"{self.path}: {len(problems):,} of {len(files):,} files cannot be read as images; mend them, delete "
                f"them, or leave them out with --unreadable skip:\n  {_listed(problems, separator=_NEW_LINE)}"
            )
        labels = np.concatenate([_labels(part) for part in parts])
        readable = np.setdiff1d(np.arange(len(files)), list(image_data.problems))
        images, labels = (
            (image_data.images, labels) if not problems else (image_data.images[readable], labels[readable])
        )
        if len(parts) == 1:
            _require_all_classes(labels, names, str(self.path), problems)
            train, test = _split(labels, names)
        else:
            train_files = len(_labels(parts[0]))
            train, test = np.split(np.arange(len(labels)), [np.searchsorted(readable, train_files)])
            _require_all_classes(labels[train], names, "train/", problems)
            _require_all_classes(labels[test], names, "test/", problems)
        return Dataset(
            self.name,
            names,
            images[train],
            labels[train],
            images[test],
            labels[test],
            licence="not known to Covey",
            notes=(
                *_notes_on_left_out(files),
                *_notes_on_similar_names(names),
                *_notes_on_conversion(image_data, spec),
                *_notes_on_skipped(problems),
            ),
        )

    def availability(self, data_dir: Path | None) -> str:
        return str(self.path)

    def _parts(self) -> list[Files]:
        """The files to train with and to test with, or one part with both."""
        if not self.path.is_dir():
            raise MissingDataset(f"{self.path} is no folder; expected one folder per class of images in it")
        _require_text(self.path.resolve())
        halves = [self.path / "train", self.path / "test"]
        if not any(half.is_dir() for half in halves):
            return [_list_classes(self.path)]
        if not all(half.is_dir() for half in halves):
            raise InvalidDataset(f"{self.path}: expected both train/ and test/, or one folder per class and neither")
        parts = [_list_classes(half) for half in halves]
        if parts[0].keys() != parts[1].keys():
            differing = ", ".join(sorted(parts[0].keys() ^ parts[1].keys()))
            raise InvalidDataset(f"{self.path}: train/ and test/ hold different classes: {differing}")
        return parts


def _list_classes(folder: Path) -> Files:
    folders: dict[str, list[Path]] = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not image_folders.is_hidden(child.name):
            _require_text(child)
            folders.setdefault(unicodedata.normalize("NFC", child.name), []).append(child)
    alike: dict[str, str] = {}
    for name in folders:
        other = alike.setdefault(" ".join(name.split()), name)
        if other != name:
            raise InvalidDataset(f"{folder}: the classes {other!r} and {name!r} differ in spaces alone; rename one")
    classes = {
        name: [file for class_folder in folders[name] for file in sorted(class_folder.iterdir()) if _is_image(file)]
        for name in sorted(folders)
    }
    if len(classes) < 2:
        loose_images = sum(_is_image(file) for file in folder.iterdir())
        raise InvalidDataset(
            f"{folder}: expected a folder of images for each of two or more classes, found {len(classes)}"
            + (f" ({next(iter(classes))})" if classes else "")
            + (
                f"; {plural(loose_images, 'image')} directly in it belong into the folder of a class"
                if loose_images
                else ""
            )
        )
    empty = [name for name, files in classes.items() if not files]
    if empty:
        children = (child for name in empty for class_folder in folders[name] for child in class_folder.iterdir())
        left_out = Counter(image_folders.kind(child.name) for child in children if _is_left_out(child))
        holds = f"; left out {image_folders.counted(left_out)}{_heic_hint(left_out)}" if left_out else ""
        raise InvalidDataset(
            f"{folder}: no images ({image_formats.suffixes(_readable())}) in {', '.join(empty)}{holds}"
        )
    return classes


def _require_text(folder: Path) -> None:
    """Raises InvalidDataset where the folder's name, which is written into models, is not UTF-8."""
    try:
        folder.name.encode()
    except UnicodeEncodeError as error:
        raise InvalidDataset(
            f"{_printable(folder)}: the name of this folder is not UTF-8, and is written into models; rename it"
        ) from error


def _printable(name: object) -> str:
    """A name, its bytes that are not UTF-8 as escapes."""
    return str(name).encode(errors="backslashreplace").decode()


def _labels(classes: Files) -> Labels:
    return np.repeat(np.arange(len(classes), dtype=np.int64), [len(files) for files in classes.values()])


def _require_all_classes(labels: Labels, names: tuple[str, ...], part: str, problems: list[str]) -> None:
    counts = np.bincount(labels, minlength=len(names))
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if empty:
        raise InvalidDataset(
            f"no image of {', '.join(empty)} in {part} can be read, mend some:\n  "
            f"{_listed(problems, separator=_NEW_LINE)}"
        )


def _is_image(file: Path) -> bool:
    """Whether a file is an image by its name; a broken link counts, so that it is listed among what cannot be read."""
    is_file = file.is_file() or not file.exists()
    return is_file and image_formats.of_name(file.name) in _readable() and not image_folders.is_hidden(file.name)


@cache
def _readable() -> tuple[Format, ...]:
    return image_formats_here.available()


def _is_left_out(child: Path) -> bool:
    """Whether something among the images is no image; hidden files are ignored."""
    return not (_is_image(child) or image_folders.is_hidden(child.name))


def _heic_hint(left_out: Counter[str]) -> str:
    if image_formats.HEIC in _readable() or not left_out.keys() & set(image_formats.HEIC.suffixes):
        return ""
    return "; HEIC is read after pip install 'covey-serve[heic]'"


def _split(labels: Labels, names: tuple[str, ...]) -> tuple[Labels, Labels]:
    """The indices of the images to train with and to test with."""
    random = np.random.default_rng(_SPLIT_SEED)
    train, test = [], []
    for label, name in enumerate(names):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            raise InvalidDataset(
                f"class {name} has one image that can be read; at least two are needed, to train with and to test with"
            )
        order = random.permutation(len(places))
        tested = max(1, round(_TEST_SHARE * len(places)))
        test.append(places[np.sort(order[:tested])])
        train.append(places[np.sort(order[tested:])])
    return np.concatenate(train), np.concatenate(test)


def _notes_on_left_out(files: list[Path]) -> Iterator[str]:
    """Notes on files and folders among the images that are no images by their names."""
    left_out = sorted(
        child for folder in {file.parent for file in files} for child in folder.iterdir() if _is_left_out(child)
    )
    nested = [f"{child.parent.name}/{child.name}" for child in left_out if child.is_dir()]
    others = [f"{child.parent.name}/{child.name}" for child in left_out if not child.is_dir()]
    if nested:
        yield f"{plural(len(nested), 'folder')} inside a class's folder left out: {_listed(nested)}"
    if others:
        kinds = Counter(image_folders.kind(name) for name in others)
        yield f"left out {image_folders.counted(kinds)}: {_listed(others)}{_heic_hint(kinds)}"


def _notes_on_similar_names(names: tuple[str, ...]) -> Iterator[str]:
    """Notes on classes that many file systems take for one. Single letters may differ in case on purpose, longer names
    hardly ever do."""
    forms: dict[str, list[str]] = {}
    for name in names:
        forms.setdefault(name.casefold(), []).append(name)
    for same in forms.values():
        if len(same) > 1:
            yield f"{' and '.join(same)} are classes of their own, though only capital letters set them apart"


def _notes_on_conversion(image_data: ImageFiles, spec: InputSpec) -> Iterator[str]:
    readable = len(image_data.images) - len(image_data.problems)
    grey, coloured = image_data.grey, readable - image_data.grey
    if spec.channels == 3 and grey:
        yield f"{plural(grey, 'grey image')} in an RGB set {_were(grey)} converted to RGB"
    if spec.channels == 1 and coloured:
        yield f"{plural(coloured, 'colour image')} in a grey set {_were(coloured)} converted to grey"
    if image_data.transparent:
        verb = "has" if image_data.transparent == 1 else "have"
        treatment = "which was dropped" if spec.background is None else f"shown over #{bytes(spec.background).hex()}"
        yield f"{plural(image_data.transparent, 'image')} {verb} transparency, {treatment}"


def _notes_on_skipped(problems: list[str]) -> Iterator[str]:
    if problems:
        yield f"{plural(len(problems), 'unreadable file')} skipped: {_listed(problems, separator='; ')}"


def _listed(items: list[str], separator: str = ", ") -> str:
    rest = f"{separator}and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return _printable(separator.join(items[:_SHOWN]) + rest)


def _were(count: int) -> str:
    return "was" if count == 1 else "were"
