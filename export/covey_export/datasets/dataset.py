"""A data set in memory. Knows no files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.family import Family
from covey_export.errors import InvalidDataset
from covey_proto.wording import listed, plural

_VALIDATION_SHARE = 0.1

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Kept:
    """Images `[N, H, W, C] uint8` and labels `[N] int64` that nothing is trained with: to choose by, and to fit numbers
    to."""

    images: Images
    labels: Labels


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images `[N, H, W, C] uint8` and labels `[N] int64` (places in `labels`) to train on and to test with.

    Raises InvalidDataset where the arrays contradict each other.
    """

    name: str
    labels: tuple[str, ...]
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    licence: str
    notes: tuple[str, ...] = ()  # what was noticed while it was read, one sentence each
    family: Family = Family.UNKNOWN
    held_out: str = "test"  # what the test images are: "validation" where they were kept from the training images
    kept: Kept | None = None  # training images that nothing is trained with, see `keeping_validation`

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("train", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
        ):
            if images.ndim != 4 or images.dtype != np.uint8:
                raise InvalidDataset(
                    f"{self.name}: expected {part} images [N, H, W, C] uint8, found {images.shape} {images.dtype}"
                )
            if len(images) == 0 or len(images) != len(labels):
                raise InvalidDataset(
                    f"{self.name}: {plural(len(images), f'{part} image')} with {plural(len(labels), 'label')}"
                )
            if labels.min() < 0 or labels.max() >= len(self.labels):
                raise InvalidDataset(
                    f"{self.name}: {part} labels from {labels.min()} to {labels.max()}, "
                    f"expected 0 to {len(self.labels) - 1}"
                )
        train_shape, test_shape = self.train_images.shape[1:], self.test_images.shape[1:]
        if train_shape != test_shape:
            raise InvalidDataset(f"{self.name}: train images of {train_shape}, test images of {test_shape}")

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of all images and labels, which is the same for the same data wherever it is stored."""
        sha256 = hashlib.sha256("\0".join(self.labels).encode())
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            sha256.update(array.tobytes())
        return sha256.hexdigest()

    @cached_property
    def test_digest(self) -> str:
        """The SHA-256 of the test images and their labels alone."""
        label_names = np.array(self.labels, object)[self.test_labels].tolist()  # whatever the order of the classes
        sha256 = hashlib.sha256("\0".join(label_names).encode())
        sha256.update(self.test_images.tobytes())
        return sha256.hexdigest()

    def in_order(self, labels: tuple[str, ...]) -> Dataset:
        """The same images with the classes in the order of `labels`, which may name classes without images here.

        Raises InvalidDataset where a class of the data set is missing there, or one is named twice.
        """
        if labels == self.labels:
            return self
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise InvalidDataset(f"the label {twice!r} is given twice; expected each class once")
        missing = [label for label in self.labels if label not in labels]
        if missing:
            raise InvalidDataset(
                f"{self.name} has classes that are not among the {len(labels):,} labels given: "
                f"{', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}; expected all of its "
                f"{len(self.labels):,} classes"
            )
        new_index = np.array([labels.index(label) for label in self.labels], np.int64)
        return replace(
            self, labels=labels, train_labels=new_index[self.train_labels], test_labels=new_index[self.test_labels]
        )

    def with_validation(self) -> Dataset:
        """The data set with a tenth of each class's training images, which it is not trained with, in place of the test
        images: to choose by, while nobody looks at the test images. Always the same ones; at least one is left to train
        with."""
        order = np.random.default_rng(0).permutation(len(self.train_labels))
        is_kept = np.zeros(len(self.train_labels), bool)
        for label in range(len(self.labels)):
            of_class = order[self.train_labels[order] == label]
            is_kept[of_class[: int(_VALIDATION_SHARE * len(of_class) + 0.5)]] = True
        if not is_kept.any():
            raise InvalidDataset(
                f"{self.name} has too few training images to keep some of them for validation; expected 5 or more of a "
                f"class. Judge by the test images"
            )
        without = [name for index, name in enumerate(self.labels) if not (self.train_labels[is_kept] == index).any()]
        note = f"no validation images of {listed(without)}: too few training images (expected 5 or more of a class)"
        return replace(
            self,
            notes=(*self.notes, note) if without else self.notes,
            held_out="validation",
            train_images=self.train_images[~is_kept],
            train_labels=self.train_labels[~is_kept],
            test_images=self.train_images[is_kept],
            test_labels=self.train_labels[is_kept],
        )

    def keeping_validation(self) -> Dataset:
        """The same test images, and the training images without those of `with_validation`, which are `kept`. Raises
        InvalidDataset where there are too few."""
        split = self.with_validation()
        return replace(
            self,
            notes=split.notes,
            train_images=split.train_images,
            train_labels=split.train_labels,
            kept=Kept(split.test_images, split.test_labels),
        )

    @property
    def kept_images(self) -> int:
        """The number of images that are kept from training."""
        return len(self.kept.labels) if self.kept is not None else 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = self.train_images.shape
        return (height, width, channels)
