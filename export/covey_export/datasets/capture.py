"""The data set `capture:PATH`: images that a server has captured and `covey label` has labelled, and no others.

`NAME+capture:PATH` is another data set with these images added to those that it trains with. Its test images stay as
they are, so that versions before and after can be compared.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from covey_export.datasets import image_files
from covey_export.datasets.dataset import Dataset
from covey_export.datasets.entry import Entry
from covey_export.datasets.folder import Files, Folder
from covey_export.errors import InvalidDataset, MissingDataset
from covey_export.option_values import Unreadable
from covey_proto import captures
from covey_proto.wording import plural
from covey_server.images.pixels import InputSpec

PREFIX = "capture:"
PLUS = "+" + PREFIX


class Capture(Folder):
    """The labelled images of one model's captures: an 80/20 split of each class."""

    summary = "images that a server has captured and `covey label` has labelled"

    def __init__(self, path: Path, unreadable: Unreadable = "refuse") -> None:
        super().__init__(path, unreadable)
        self.name = f"{PREFIX}{path.resolve().name}"

    def labelled(self) -> Files:
        """The labelled files by class, both in alphabetical order. Raises MissingDataset, InvalidDataset."""
        if not self.path.is_dir():
            raise MissingDataset(f"{self.path} is no folder; expected a model's captures, labelled by `covey label`")
        files: Files = {}
        for label in captures.standing(captures.read_labels(self.path)).values():
            file = self.path / label.place / label.file
            if label.decision == "labelled" and file.exists():
                files.setdefault(label.label, []).append(file)
        if not files:
            raise InvalidDataset(
                f"{self.path}: no image is labelled; expected {captures.LABELS}, which `covey label {self.path}` writes"
            )
        return {label: sorted(files[label]) for label in sorted(files)}

    def _parts(self) -> list[Files]:
        files = self.labelled()
        if len(files) < 2:
            raise InvalidDataset(
                f"{self.path}: all labelled images are of one class, {next(iter(files))}; label some of others, or add "
                f"them to another data set with NAME{PLUS}{self.path}"
            )
        return [files]


class Extended(Entry):
    """A data set with the labelled images of a capture added to its training images."""

    def __init__(self, base: Entry, capture: Capture) -> None:
        self.base, self.capture = base, capture
        self.name = f"{base.name}+{capture.name}"
        self.image_shape, self.summary, self.family = base.image_shape, base.summary, base.family

    def load(self, spec: InputSpec, data_dir: Path | None) -> Dataset:
        base = self.base.load(spec, data_dir)
        files = self.capture.labelled()
        unknown = [label for label in files if label not in base.labels]
        if unknown:
            raise InvalidDataset(
                f"{self.capture.path} has labels that {base.name} has not: {', '.join(unknown[:5])}; expected some of "
                f"its {len(base.labels):,} classes"
            )
        paths = [path for of_class in files.values() for path in of_class]
        labels = np.repeat([base.labels.index(label) for label in files], [len(paths) for paths in files.values()])
        height, width, channels = base.image_shape
        image_data = image_files.read(paths, replace(spec, height=height, width=width, channels=channels))
        if image_data.problems and self.capture.unreadable == "refuse":
            index, reason = next(iter(image_data.problems.items()))
            raise InvalidDataset(
                f"{plural(len(image_data.problems), 'file')} cannot be read, the first is {paths[index]}: {reason}; "
                f"mend or delete them, or leave them out with --unreadable skip"
            )
        readable = np.setdiff1d(np.arange(len(paths)), list(image_data.problems))
        return replace(
            base,
            name=self.name,
            train_images=np.concatenate((base.train_images, image_data.images[readable])),
            train_labels=np.concatenate((base.train_labels, labels[readable].astype(np.int64))),
            notes=(*base.notes, f"{plural(len(readable), 'labelled image')} of {self.capture.path.name} added"),
        )

    def availability(self, data_dir: Path | None) -> str:
        return f"{self.base.availability(data_dir)}, {self.capture.path}"
