"""The real data sets, where COVEY_DATA names a folder that holds them; `.ci/run` sets it where it can."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from covey_export.datasets import find_entry
from covey_export.errors import MissingDataset
from covey_server.images.pixels import InputSpec

FOLDER = os.environ.get("COVEY_DATA", "")
# Images of each class, by the publications of the data sets.
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
COUNTS = {
    "mnist": ((28, 28, 1), MNIST_TRAIN, MNIST_TEST),
    "cifar10": ((32, 32, 3), [5000] * 10, [1000] * 10),
}


@pytest.mark.skipif(not FOLDER, reason="COVEY_DATA names no folder of data sets")
@pytest.mark.parametrize("name", COUNTS)
def test_the_published_numbers_of_images_are_read(name: str) -> None:
    shape, train, test = COUNTS[name]
    try:
        dataset = find_entry(name).load(InputSpec(*shape), Path(FOLDER))
    except MissingDataset:
        pytest.skip(f"{FOLDER} does not hold {name}")
    assert dataset.image_shape == shape
    assert np.bincount(dataset.train_labels).tolist() == train
    assert np.bincount(dataset.test_labels).tolist() == test
