"""A small data set, a quickly trained network and its published model, shared by the tests of `export`."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator

import pytest
from tests.export.recorded_report import CPU, RecordedReport
from torch.onnx._internal.exporter._registration import ONNXRegistry

from covey_export import publication
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset, Family, find_entry
from covey_export.networks import NETWORKS
from covey_export.publication import Published
from covey_export.quantization import timing
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_server.images.pixels import InputSpec


@pytest.fixture(scope="session", autouse=True)
def _one_table_of_onnx_functions() -> Iterator[None]:
    """torch builds its table of ONNX functions anew for each export: 0.85 s of CPU, more than all else that the export
    of a small network takes. Here it is built once, and each export gets a copy."""
    build = functools.cache(ONNXRegistry.from_torchlib)

    def copied(**options: int) -> ONNXRegistry:
        made = copy.copy(build(**options))
        made.functions = {target: list(found) for target, found in made.functions.items()}
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(copied))
        yield


@pytest.fixture
def report() -> RecordedReport:
    return RecordedReport()


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return find_entry("sample").load(InputSpec(28, 28, 1), None)


@pytest.fixture(scope="session")
def small(sample: Dataset) -> Dataset:
    """Every tenth image of the sample: 600 to train with, 100 to test with. It may be mirrored, so that recipes with
    all kinds of changes are tried on it."""
    return dataclasses.replace(
        sample,
        train_images=sample.train_images[::10],
        train_labels=sample.train_labels[::10],
        test_images=sample.test_images[::10],
        test_labels=sample.test_labels[::10],
        family=Family.PHOTOGRAPHS,
    )


@pytest.fixture(scope="session")
def trained(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """`mlp` after three epochs of the small set."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = find_recipe("mlp", "tutorial")
    return train(NETWORKS["mlp"], small, recipe, folder, CPU, RecordedReport(), changes={"epochs": 3})


@pytest.fixture(scope="session")
def trained_model(trained: Checkpoint, small: Dataset) -> TrainedModel:
    """`trained` with what is made of it when first needed, above all its graph: the tests export it once."""
    return TrainedModel(NETWORKS["mlp"], trained, small)


@pytest.fixture(scope="session")
def published(trained_model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """`trained_model` as version 1 of the model `mlp`. Not to be changed: copy it first."""
    return publication.publish(trained_model, tmp_path_factory.mktemp("models"), "mlp", RecordedReport())


@pytest.fixture
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed of a variant is measured for tenths of a second less: where the figures do not matter."""
    monkeypatch.setattr(timing, "_TURN_S", 0.0)  # one run in each turn
