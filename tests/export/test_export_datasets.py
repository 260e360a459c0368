"""Data sets: every layout they are found in, and what is said of files that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import pickle
import struct
import urllib.request
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covey_export.datasets import Dataset, find_entry, idx, published
from covey_export.errors import InvalidDataset, MissingDataset, UnknownName
from covey_server.images.pixels import InputSpec

GREY_28 = InputSpec(28, 28, 1)
RGB_32 = InputSpec(32, 32, 3)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


@pytest.fixture(autouse=True)
def _no_other_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No cache of earlier downloads, and no way to the internet: the port of the proxy is closed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("COVEY_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # urlopen remembers the proxies of its first call


def _idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _write_idx(folder: Path, suffix: str = "") -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    for part, count in (("train", 20), ("t10k", 10)):
        for kind, array in (("images-idx3", images[:count]), ("labels-idx1", labels[:count])):
            (folder / f"{part}-{kind}-ubyte{suffix}").write_bytes(COMPRESSORS[suffix](_idx(array)))
    return images, labels


def _write_cifar(folder: Path, suffix: str = "") -> NDArray[np.uint8]:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), np.uint8)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name, batch in zip(names, images, strict=True):
        records = b"".join(bytes((label,)) + image.transpose(2, 0, 1).tobytes() for label, image in enumerate(batch))
        (folder / f"{name}{suffix}").write_bytes(COMPRESSORS[suffix](records))
    return images


def test_sample_is_balanced_small_and_licensed(sample: Dataset) -> None:
    assert sample.train_images.shape == (6000, 28, 28, 1)
    assert sample.test_images.shape == (1000, 28, 28, 1)
    assert np.bincount(sample.train_labels).tolist() == [600] * 10
    assert np.bincount(sample.test_labels).tolist() == [100] * 10
    files = resources.files("covey_export.datasets")
    assert len(files.joinpath("sample.npz").read_bytes()) < 2_000_000
    assert "Attribution-ShareAlike 3.0" in files.joinpath("sample-licence.txt").read_text()
    assert "CC BY-SA 3.0" in sample.licence


@pytest.mark.parametrize("folder", ["mnist", "MNIST/raw", "raw", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_found_in_every_layout(tmp_path: Path, folder: str, suffix: str) -> None:
    images, labels = _write_idx(tmp_path / folder, suffix)
    dataset = find_entry("mnist").load(GREY_28, tmp_path)
    assert np.array_equal(dataset.train_images[..., 0], images)
    assert np.array_equal(dataset.train_labels, labels)
    assert dataset.test_images.shape == (10, 28, 28, 1)
    assert dataset.labels[3] == "3"


@pytest.mark.parametrize("folder", ["cifar10", "cifar-10-batches-bin", "."])
@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_cifar10_is_found_in_every_binary_layout(tmp_path: Path, folder: str, suffix: str) -> None:
    images = _write_cifar(tmp_path / folder, suffix)
    dataset = find_entry("cifar10").load(RGB_32, tmp_path)
    assert np.array_equal(dataset.train_images, images[:5].reshape(-1, 32, 32, 3))
    assert np.array_equal(dataset.test_images, images[5])
    assert dataset.test_labels.tolist() == [0, 1, 2, 3]
    assert (dataset.labels[0], dataset.labels[9]) == ("airplane", "truck")


def test_the_environment_names_the_folder_where_no_option_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_idx(tmp_path / "mnist")
    monkeypatch.setenv("COVEY_DATA", str(tmp_path))
    assert len(find_entry("mnist").load(GREY_28, None).train_images) == 20
    assert str(tmp_path / "mnist") in find_entry("mnist").availability(None)


def test_files_of_one_set_are_not_taken_for_another_of_the_same_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, labels = _write_idx(tmp_path)
    digest = hashlib.sha256(_idx(labels)).hexdigest()
    assert idx.is_present(tmp_path, "fashion-mnist")
    monkeypatch.setitem(idx._TRAIN_LABELS_SHA256, digest, "mnist")
    assert idx.is_present(tmp_path, "mnist")
    assert not idx.is_present(tmp_path, "fashion-mnist")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_missing_set_says_every_way_to_provide_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingDataset) as raised:
        find_entry(name).load(GREY_28, tmp_path)
    message = str(raised.value)
    for part in ("--data-dir", "COVEY_DATA", f"DIR/{name}", "torchvision", "--dataset sample", str(tmp_path)):
        assert part in message
    assert not list((tmp_path / "cache").rglob("*.download*"))


def test_fashion_mnist_names_its_debian_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(published, "_DISTRIBUTION", tmp_path)
    with pytest.raises(MissingDataset, match="dataset-fashion-mnist"):
        find_entry("fashion-mnist").load(GREY_28, None)
    assert "dataset-fashion-mnist" in find_entry("fashion-mnist").availability(None)


def test_a_data_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=r"nowhere.*does not exist"):
        find_entry("mnist").load(GREY_28, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not an IDX file at all", "expected an IDX file of unsigned bytes with 3 axes"),
        (_idx(np.zeros((20, 28, 28), np.uint8))[:-1], r"header says 20 x 28 x 28 bytes, 15,679 follow"),
        (_idx(np.zeros((19, 28, 28), np.uint8)), "19 train images with 20 labels"),
        (b"", "expected an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    _write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InvalidDataset, match=message):
        find_entry("mnist").load(GREY_28, tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_cut_off_archive_is_named(tmp_path: Path, suffix: str) -> None:
    _write_idx(tmp_path, suffix)
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidDataset, match="damaged or cut off"):
        find_entry("mnist").load(GREY_28, tmp_path)


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    _write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(_idx(np.full(20, 10, np.uint8)))
    with pytest.raises(InvalidDataset, match="labels from 10 to 10, expected 0 to 9"):
        find_entry("mnist").load(GREY_28, tmp_path)


def test_a_cifar_batch_of_the_wrong_length_is_named(tmp_path: Path) -> None:
    _write_cifar(tmp_path)
    with (tmp_path / "data_batch_3.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InvalidDataset, match=r"data_batch_3.bin: expected CIFAR-10 records of 3073 bytes, 12,293"):
        find_entry("cifar10").load(RGB_32, tmp_path)


class _Forgery:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, (str(self._path),))


def test_a_forged_python_batch_is_refused_without_being_read(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(_Forgery(tmp_path / "was-run")))
    with pytest.raises(InvalidDataset, match="cifar-10-batches-py"):
        find_entry("cifar10").load(RGB_32, tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_an_unknown_name_gets_the_known_ones_nearest_first() -> None:
    with pytest.raises(UnknownName, match=r"'fashion_mnist'. Did you mean fashion-mnist\? There are: fashion-mnist, "):
        find_entry("fashion_mnist")
