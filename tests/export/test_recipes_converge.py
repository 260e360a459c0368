"""Each network learns by its usual recipe on each data set that fits it, in both precisions: `make test-recipes`.

Data sets that are not on this machine are skipped; none is downloaded. Of large sets one epoch is cut short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport

from covey_export.datasets import Dataset, find_entry
from covey_export.errors import InvalidDataset
from covey_export.networks import NETWORKS, Network
from covey_export.option_values import TrainingPrecision
from covey_export.reports.progress import Advance
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train

DATASETS = ("sample", "fashion-mnist", "cifar10")
MAX_IMAGES = 12_800  # of networks that need more than a few milliseconds a step: 50 batches of 256
# LeNet's sigmoids stay at chance for the first 190 steps, whatever the format; then the loss falls from 2.31 to 1.
EPOCHS = {("lenet", "sample"): 2}
MIN_GAIN = 0.02  # of the loss, from the first steps to the last


class LossReport(RecordedReport):
    """A report that keeps the loss of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Advance]:
        del total, done
        yield self

    def advance(self, loss: float) -> None:
        self.losses.append(loss)


def _pairs() -> Iterator[tuple[str, str]]:
    for name, network in NETWORKS.items():
        for dataset in DATASETS:
            if name != "conv-demo" and _fitted(network, dataset) is not None:
                yield name, dataset


def _fitted(network: Network, dataset: str) -> Network | None:
    shape = find_entry(dataset).image_shape
    assert shape is not None
    try:
        return network.fitted_to(dataset, shape)
    except InvalidDataset:
        return None


@cache
def _load(dataset: str) -> Dataset:
    entry = find_entry(dataset)
    found = entry.availability(None)
    if found.startswith("not here"):
        pytest.skip(f"{dataset}: {found}")
    return entry.load(NETWORKS["lenet"].spec, None)


def _part(dataset: Dataset, images: int) -> Dataset:
    return replace(
        dataset,
        train_images=dataset.train_images[:images],
        train_labels=dataset.train_labels[:images],
        test_images=dataset.test_images[:500],
        test_labels=dataset.test_labels[:500],
    )


@pytest.fixture
def _all_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.recipes
@pytest.mark.usefixtures("_all_cores")
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "dataset_name"), list(_pairs()))
def test_one_epoch_converges(name: str, dataset_name: str, precision: TrainingPrecision, tmp_path: Path) -> None:
    dataset = _load(dataset_name)
    network = _fitted(NETWORKS[name], dataset_name)
    assert network is not None
    # The recipe is that of the whole set, however few of its images are seen here.
    recipe = find_recipe(name, None, dataset_name).fitted_to(dataset)
    images = len(dataset.train_images) if recipe.threads == 1 else MAX_IMAGES
    seen = _part(dataset, images)
    epochs = EPOCHS.get((name, dataset_name), 1)
    recipe = replace(recipe, epochs=epochs, precision=precision, train_images=len(seen.train_images))
    report = LossReport()
    train(network, seen, recipe, tmp_path, CPU, report, seed=0)
    losses = np.array(report.losses)
    assert np.isfinite(losses).all()
    tenth = len(losses) // 10
    # No better than chance is no convergence, wherever the loss began.
    first = min(losses[:tenth].mean(), math.log(len(dataset.labels)))
    assert losses[-tenth:].mean() < first - MIN_GAIN, f"first {first:.3f}, {report.text}"
