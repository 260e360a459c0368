"""Reads data sets of four IDX files (MNIST, Fashion-MNIST), the format of yann.lecun.com/exdb/mnist.

Big-endian header: two zero bytes, the element type (8: uint8), the number of axes, the length of each axis.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets import stored_files
from covey_export.datasets.dataset import Dataset
from covey_export.errors import InvalidDataset

_UINT8 = 8
_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# MNIST and Fashion-MNIST use the same file names. The training labels tell them apart.
_TRAIN_LABELS_SHA256 = {
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": "mnist",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9": "fashion-mnist",
}


def is_present(folder: Path, name: str) -> bool:
    """Whether the four files are in `folder` and are not another known set's."""
    if not all(stored_files.find(folder, file) for file in (*_TRAIN, *_TEST)):
        return False
    labels = stored_files.read(_require(folder, _TRAIN[1]))
    return _TRAIN_LABELS_SHA256.get(hashlib.sha256(labels).hexdigest(), name) == name


def load(folder: Path, name: str, labels: tuple[str, ...], licence: str) -> Dataset:
    """The data set in `folder`. Raises InvalidDataset."""
    (train_images, train_labels), (test_images, test_labels) = (
        (
            read_array(_require(folder, images_file), axes=3)[..., np.newaxis],
            read_array(_require(folder, labels_file), axes=1).astype(np.int64),
        )
        for images_file, labels_file in (_TRAIN, _TEST)
    )
    return Dataset(name, labels, train_images, train_labels, test_images, test_labels, licence)


def read_array(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array of one IDX file. Raises InvalidDataset where it is another format or cut off."""
    data = stored_files.read(path)
    header_bytes = 4 + 4 * axes
    if len(data) < header_bytes or data[:4] != bytes((0, 0, _UINT8, axes)):
        raise InvalidDataset(
            f"{path}: expected an IDX file of unsigned bytes with {axes} axes, it begins with {data[:4]!r}"
        )
    shape = tuple(int(length) for length in np.frombuffer(data, ">u4", axes, offset=4))
    if len(data) - header_bytes != math.prod(shape):
        raise InvalidDataset(
            f"{path}: its header says {' x '.join(map(str, shape))} bytes, {len(data) - header_bytes:,} follow; "
            f"fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header_bytes).reshape(shape)


def _require(folder: Path, name: str) -> Path:
    path = stored_files.find(folder, name)
    if path is None:
        raise InvalidDataset(f"{folder / name} (or .gz, .xz) is missing")
    return path
