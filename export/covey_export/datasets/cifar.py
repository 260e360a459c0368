"""Reads CIFAR-10: the binary batches (plain, .gz or .xz), or the Python batches that torchvision downloads.

A binary record is one label byte, then 1,024 red, 1,024 green and 1,024 blue bytes, each plane row by row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from covey_export.datasets import stored_files
from covey_export.datasets.dataset import Dataset, Images, Labels
from covey_export.errors import InvalidDataset

_SIDE = 32
_RECORD_BYTES = 1 + 3 * _SIDE * _SIDE
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_PYTHON_FOLDER = "cifar-10-batches-py"


def is_present(folder: Path, name: str) -> bool:
    """Whether `folder` holds the batches, in either layout."""
    del name  # no other data set has these files
    return _is_python(folder) or all(stored_files.find(folder, file) for file in (*_TRAIN, _TEST))


def load(folder: Path, name: str, labels: tuple[str, ...], licence: str) -> Dataset:
    """The data set in `folder`. Raises InvalidDataset."""
    read = _read_python if _is_python(folder) else _read_binary
    train_images, train_labels, test_images, test_labels = read(folder)
    return Dataset(name, labels, train_images, train_labels, test_images, test_labels, licence)


def _read_binary(folder: Path) -> tuple[Images, Labels, Images, Labels]:
    paths = [stored_files.find(folder, file) for file in (*_TRAIN, _TEST)]
    with ThreadPoolExecutor() as pool:  # xz is slow, and decompresses without the interpreter lock
        *train, (test_images, test_labels) = pool.map(read_batch, [path for path in paths if path])
    images, labels = zip(*train, strict=True)
    return np.concatenate(images), np.concatenate(labels), test_images, test_labels


def read_batch(path: Path) -> tuple[Images, Labels]:
    """Images `[N, 32, 32, 3]` and labels `[N]` of one binary batch. Raises InvalidDataset."""
    data = stored_files.read(path)
    if not data or len(data) % _RECORD_BYTES:
        raise InvalidDataset(
            f"{path}: expected CIFAR-10 records of {_RECORD_BYTES} bytes, {len(data):,} bytes are no multiple of it"
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, _RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _is_python(folder: Path) -> bool:
    return folder.name == _PYTHON_FOLDER and (folder / "data_batch_1").is_file()


def _read_python(folder: Path) -> tuple[Images, Labels, Images, Labels]:
    import torchvision  # here: it costs more than a second, and few trainings need it

    # The batches are pickles, so that reading a forged one would run it: torchvision compares their
    # checksums before it reads them.
    try:
        train = torchvision.datasets.CIFAR10(folder.parent, train=True)
        test = torchvision.datasets.CIFAR10(folder.parent, train=False)
    except RuntimeError as error:
        raise InvalidDataset(f"{folder}: {error}") from error
    return (
        np.asarray(train.data, np.uint8),
        np.asarray(train.targets, np.int64),
        np.asarray(test.data, np.uint8),
        np.asarray(test.targets, np.int64),
    )
