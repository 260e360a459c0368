"""The data sets by their names on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from covey_export import naming
from covey_export.datasets import capture, cifar, idx
from covey_export.datasets.capture import Capture, Extended
from covey_export.datasets.demo import Demo
from covey_export.datasets.entry import Entry
from covey_export.datasets.family import Family
from covey_export.datasets.folder import PREFIX, Folder
from covey_export.datasets.published import PublishedSet
from covey_export.datasets.sample import LABELS, LICENCE, Sample
from covey_export.option_values import Unreadable

_IDX_FILES = "train-images-idx3-ubyte and the three others"

CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Sample(),
        Demo(),
        PublishedSet(
            name="mnist",
            image_shape=(28, 28, 1),
            summary="60,000 + 10,000 handwritten digits",
            family=Family.SIGNS,
            labels=LABELS,
            licence=LICENCE,
            reader=idx,
            folders=("mnist", "MNIST/raw", "raw", "."),
            files=_IDX_FILES,
            torchvision_name="MNIST",
        ),
        PublishedSet(
            name="fashion-mnist",
            image_shape=(28, 28, 1),
            summary="60,000 + 10,000 pictures of clothes",
            family=Family.CLOTHES,
            labels=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            licence="MIT, Zalando SE",
            reader=idx,
            folders=("fashion-mnist", "FashionMNIST/raw", "raw", "."),
            files=_IDX_FILES,
            torchvision_name="FashionMNIST",
            package="dataset-fashion-mnist",
        ),
        PublishedSet(
            name="cifar10",
            image_shape=(32, 32, 3),
            summary="50,000 + 10,000 photographs",
            family=Family.PHOTOGRAPHS,
            labels=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
            licence="none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
            reader=cifar,
            folders=("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py", "."),
            files="data_batch_1.bin to data_batch_5.bin and test_batch.bin",
            torchvision_name="CIFAR10",
        ),
    )
}


def find_entry(name: str, *, unreadable: Unreadable = "refuse") -> Entry:
    """The data set of that name, the folder of `folder:PATH`, the labelled images of `capture:PATH`, or the former with
    the latter, `NAME+capture:PATH`. Raises UnknownName, with the nearest names.

    `unreadable` says what a folder does about files that are no images.
    """
    base, plus, path = name.rpartition(capture.PLUS)
    if plus:
        return Extended(find_entry(base, unreadable=unreadable), Capture(Path(path), unreadable))
    if name.startswith(capture.PREFIX):
        return Capture(Path(name.removeprefix(capture.PREFIX)), unreadable)
    if name.startswith(PREFIX):
        return Folder(Path(name.removeprefix(PREFIX)), unreadable)
    if name not in CATALOGUE:
        raise naming.unknown("data set", name, [*CATALOGUE, f"{PREFIX}PATH", f"{capture.PREFIX}PATH"])
    return CATALOGUE[name]
