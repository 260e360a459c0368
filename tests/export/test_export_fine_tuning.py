"""From a checkpoint to a model of one's own images: a network trained on CIFAR-10 learns two classes of JPEGs of odd
sizes, and a server that is sent these files answers what PyTorch answers. Needs the real CIFAR-10 (COVEY_DATA)."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.processes import covey_server
from PIL import Image
from tests.export.recorded_report import CPU, RecordedReport

import covey
from covey_export import head, publication, weights
from covey_export.datasets import Dataset, find_entry
from covey_export.errors import MissingDataset
from covey_export.evaluation import predict
from covey_export.networks import find_network
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec
from covey_server.images.pixels import InputSpec, decode

FOLDER = os.environ.get("COVEY_DATA", "")
NETWORK = "torchvision:shufflenet_v2_x0_5"
CLASSES = ("frog", "ship")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FOLDER, reason="COVEY_DATA names no folder of data sets")]


@pytest.fixture(scope="module")
def cifar10() -> Dataset:
    """Its first images: what is learned of them is little, but it is learned of photographs."""
    try:
        whole = find_entry("cifar10").load(InputSpec(32, 32, 3), Path(FOLDER))
    except MissingDataset:
        pytest.skip(f"{FOLDER} does not hold cifar10")
    return dataclasses.replace(
        whole,
        train_images=whole.train_images[:1000],
        train_labels=whole.train_labels[:1000],
        test_images=whole.test_images[:1000],
        test_labels=whole.test_labels[:1000],
    )


@pytest.fixture(scope="module")
def photographs(cifar10: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes as JPEGs, no two of one size, some standing and some lying."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(11)
    for name in CLASSES:
        (folder / name).mkdir()
        label = cifar10.labels.index(name)
        for number, pixels in enumerate(cifar10.test_images[cifar10.test_labels == label]):
            size = (int(random.integers(35, 180)), int(random.integers(35, 180)))
            image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            image.save(folder / name / f"{number:03}.jpg", quality=int(random.integers(60, 96)))
    return folder


def _size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def test_the_served_model_answers_what_pytorch_answers_for_the_same_files(
    cifar10: Dataset, photographs: Path, tmp_path: Path
) -> None:
    base = find_network(NETWORK).fitted_to("cifar10", (32, 32, 3))
    changes = {"epochs": 1, "precision": "float32"}
    train(base, cifar10, find_recipe(NETWORK, "best"), tmp_path / "base", CPU, RecordedReport(), changes=changes)

    network = find_network(NETWORK).fitted_to("photographs", (64, 64, 3))
    dataset = find_entry(f"folder:{photographs}").load(network.spec, None)
    given = weights.load(tmp_path / "base")
    report = RecordedReport()
    checkpoint = train(
        network,
        dataset,
        find_recipe(NETWORK, "fine-tune"),
        tmp_path / "tuned",
        CPU,
        report,
        changes={"epochs": 3, "precision": "float32", "freeze": True, "mean": given.mean, "std": given.std},
        weights=given,
    )
    assert f"begins from {NETWORK} trained on cifar10; its last layer is for other classes" in report.text
    trained = TrainedModel(network, checkpoint, dataset)
    model = trained.classifier
    last = head.find(model.network, len(CLASSES))
    changed = {
        name for name, tensor in model.network.state_dict().items() if not torch.equal(tensor, given.tensors[name])
    }
    assert changed == {f"{last}.weight", f"{last}.bias"}, "only the last layer may learn"

    published = publication.publish(trained, tmp_path / "models", "tuned", report)
    assert published.info.input.resize == ImageSpec.RESIZE_CENTER_CROP
    assert published.info.input.crop == 0.875
    assert published.info.training.started_from == f"{NETWORK} trained on cifar10"
    assert published.verification.disagreements == 0

    files = sorted(photographs.glob("*/*.jpg"))
    assert len({_size(file) for file in files}) > 150
    pixels = np.stack([decode(file.read_bytes(), network.spec) for file in files])
    stretched = np.stack([decode(file.read_bytes(), InputSpec(64, 64, 3, Resize.STRETCH)) for file in files])
    expected = predict(model, torch.tensor(pixels))
    assert np.abs(expected - predict(model, torch.tensor(stretched))).max() > 0.01, "another policy, other answers"
    with (
        covey_server(tmp_path / "models", "auto", tmp_path / "server.log") as server,
        covey.Client(server.target) as client,
    ):
        found = np.zeros_like(expected)
        for start in range(0, len(files), 32):
            part = [file.read_bytes() for file in files[start : start + 32]]
            for place, answer in enumerate(client.classify(part, top_k=2), start=start):
                for each in answer.classes:
                    found[place, each.index] = each.probability
    np.testing.assert_allclose(found, expected, atol=1e-4)
    is_tie = np.abs(expected[:, 0] - expected[:, 1]) < 2e-4
    assert is_tie.mean() < 0.02
    assert (found.argmax(axis=1) == expected.argmax(axis=1))[~is_tie].all()
    assert set(expected.argmax(axis=1)) == {0, 1}, "a model that gives one class alone proves little"
