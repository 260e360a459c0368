"""What the tests of reports share: models of any shape that were published on paper only, and their pages."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import ImageShape, Network, Output
from covey_export.reports import findings, layers, report_page
from covey_export.reports.findings import Findings
from covey_export.reports.layers import Recording
from covey_export.training.recipe import Recipe

VERIFICATION: dict[str, Any] = {
    "images": 0,
    "torch_accuracy": 0.5,
    "onnxruntime_accuracy": 0.5,
    "largest_difference": 2.5e-7,
    "disagreements": 0,
    "tolerance": 1e-4,
    "versions": {"covey": "0.1.0", "torch": "2.9.0"},
    "date": "2026-11-22T00:00:00+00:00",
}
THREE_EPOCHS = (Epoch(2.0, 0.2, 0.3), Epoch(1.0, 0.5, 0.6), Epoch(0.5, 0.7, 0.65))


@dataclass(frozen=True)
class Case:
    """One model, its data and its answers."""

    findings: Findings
    dataset: Dataset
    probabilities: NDArray[np.float32]
    recordings: dict[int, Recording]  # by the place of their image

    @cached_property
    def page(self) -> str:
        """Drawn once: it takes a second of CPU."""
        return self.write_page()

    def write_page(self) -> str:
        return report_page.write_page(self.findings, self.dataset, self.probabilities, self.recordings)

    def write_json(self, models: Path) -> Path:
        """The version's folder, with its report.json."""
        folder = models / self.findings.model / str(self.findings.version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / findings.FILE).write_text(self.findings.to_json(), encoding="utf-8")
        return folder


def make_dataset(labels: tuple[str, ...], shape: ImageShape, test_labels: NDArray[np.int64]) -> Dataset:
    """Images drawn at random, always the same."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(test_labels), *shape), dtype=np.uint8)
    return Dataset(
        "folder:birds", labels, images[:2], test_labels[:2], images, test_labels, licence="CC0", notes=("One is odd.",)
    )


def draw_answers(test_labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Probabilities `[N, K]` of which about two thirds are right."""
    random = np.random.default_rng(1)
    scores = random.normal(size=(len(test_labels), classes))
    scores[np.arange(len(test_labels)), test_labels] += 3 * (random.random(len(test_labels)) < 0.67)
    exponents = np.exp(2 * scores)
    probabilities: NDArray[np.float32] = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return probabilities


def make_case(
    folder: Path,
    labels: tuple[str, ...],
    shape: ImageShape = (8, 8, 1),
    *,
    network: nn.Module | None = None,
    history: tuple[Epoch, ...] = THREE_EPOCHS,
    test_labels: NDArray[np.int64] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    name: str = "bird-net",
    version: int = 1,
    shown: int = 1,
    **verification: Any,
) -> Case:
    """A model of `labels` on images of `shape`, every class with three test images unless told otherwise.
    The layers of the first `shown` test images are seen."""
    if test_labels is None:
        test_labels = np.repeat(np.arange(len(labels)), 3)
    if probabilities is None:
        probabilities = draw_answers(test_labels, len(labels))
    dataset = make_dataset(labels, shape, test_labels)
    place = folder / name / str(version)
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(b"x" * 1234)
    said = {**VERIFICATION, "images": len(test_labels), **verification}
    (place / "verification.json").write_text(json.dumps(said), encoding="utf-8")
    module = network if network is not None else small_network(shape[2], len(labels))
    known = Network(name, lambda task: module, shape, dataset.name, "a test's own", output=Output.LOGITS)
    model = ImageClassifier(module, Output.LOGITS, torch.tensor(1 / 255), torch.tensor(0.0)).eval()
    found = findings.find(known, make_checkpoint(dataset, shape, history), dataset, place, probabilities, 1_234_567)
    recordings = {place: layers.record(model, dataset.test_images[place]) for place in range(shown)}
    return Case(found, dataset, probabilities, recordings)


def small_network(channels: int, classes: int) -> nn.Module:
    """A convolution, a pool, a linear layer; weights always the same."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, classes),
    )


def make_checkpoint(dataset: Dataset, shape: ImageShape, history: tuple[Epoch, ...]) -> Checkpoint:
    """Only what a report reads is more than empty."""
    recipe = Recipe("test", batch_size=4, epochs=len(history), optimizer="sgd", learning_rate=0.1)
    empty: dict[str, Any] = {field.name: None for field in dataclasses.fields(Checkpoint)}
    return Checkpoint(
        **{
            **empty,
            "network": "bird-net",
            "dataset": dataset.name,
            "image_shape": shape,
            "labels": dataset.labels,
            "recipe": recipe,
            "seed": 7,
            "started_from": "",
            "history": history,
            "seconds": 12.34,
        }
    )
