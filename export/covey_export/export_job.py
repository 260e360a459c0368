"""The steps of one network on one data set, each on files: checkpoint.pt in, model.onnx out.

What the command line does; its options are the package cli's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from covey_export import checkpoint as checkpoints
from covey_export import conversion, model_versions, publication, reports
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset, Entry
from covey_export.datasets.loaded import LoadedDatasets
from covey_export.evaluation import accuracy, predict
from covey_export.networks import Network
from covey_export.publication import Published
from covey_export.quantization.precision import Precision
from covey_export.report import Report
from covey_export.training.recipe import Recipe
from covey_export.training.run import train
from covey_export.verification import Verification
from covey_export.weights import Weights


@dataclass(frozen=True)
class Pipeline:
    """Where everything of one network lies. The data set is read when first needed, once, and kept."""

    network: Network
    entry: Entry
    datasets: LoadedDatasets
    checkpoint_folder: Path
    models: Path
    model_name: str
    report: Report
    weights: Weights | None = None  # to begin with, and what belongs to them
    checkpoint_labels: tuple[str, ...] | None = None  # of the checkpoint that is there
    labels_named: bool = False  # whether the user said what the outputs of the weights are
    keeps_head: bool = False  # whether the weights are published as they are
    min_accuracy: float = 0.0  # a model below it is not published

    @cached_property
    def dataset(self) -> Dataset:
        """Raises MissingDataset, InvalidDataset."""
        with self.report.doing(f"reading {self.entry.name}"):
            dataset = self.datasets.load(self.entry, self.network.spec)
        for note in dataset.notes:
            self.report.line(f"note: {note}")
        return self._in_order(dataset)

    def _in_order(self, dataset: Dataset) -> Dataset:
        """The data set with the classes in the order of the weights, or of the checkpoint that goes on."""
        if self.weights is not None:
            here = dataset.labels
            return dataset.in_order(self.weights.order_of(here, named=self.labels_named, whole=self.keeps_head))
        if self.checkpoint_labels is not None and set(dataset.labels) <= set(self.checkpoint_labels):
            return dataset.in_order(self.checkpoint_labels)
        return dataset

    def prepare(self) -> None:
        """Reads the data set now, so that what is missing is found before hours of work on others."""
        _ = self.dataset

    def train(
        self,
        recipe: Recipe,
        device: torch.device,
        *,
        seed: int | None,
        changes: Mapping[str, Any],
        weights: Weights | None,
        restart: bool,
    ) -> Checkpoint:
        """Trains, or goes on, to the end, and says the accuracy in all and per class."""
        trained = train(
            self.network,
            self.dataset,
            recipe,
            self.checkpoint_folder,
            device,
            self.report,
            seed=seed,
            changes=changes,
            weights=weights,
            restart=restart,
        )
        model = conversion.restore(self.network, trained)
        with self.report.doing("classifying the test images"):
            found = accuracy(predict(model, torch.tensor(self.dataset.test_images)), self.dataset.test_labels)
        self.report.accuracy(self.dataset.labels, found)
        return trained

    def convert(self, precision: Precision = Precision.FLOAT32) -> Published:
        """Publishes the finished checkpoint as the next version of the model, verified; in another precision as a model
        of its own name."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        places = (self.network, trained, self.dataset, self.models, self.model_name)
        if precision is Precision.FLOAT32:
            return publication.publish(*places, self.report, min_accuracy=self.min_accuracy)
        return publication.publish_variant(*places, precision, self.report, min_accuracy=self.min_accuracy)

    def convert_if_new(self, precision: Precision = Precision.FLOAT32) -> Published:
        """As `convert`, unless the highest version was made from this very checkpoint: that one is verified once more,
        for another one like it would only make servers load it."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        name = precision.model_name(self.model_name)
        places = (self.network, trained, self.dataset, self.models, name)
        there = publication.verify_made_from(*places, self.report, min_accuracy=self.min_accuracy)
        return there or self.convert(precision)

    def draw_report(self, version: int | None) -> Path:
        """Writes report.html, report.json and MODEL_CARD.md beside a published version (None: the highest)."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        trained.require_match(self.network, self.dataset)
        folder = model_versions.find(self.models, self.model_name, version)
        model = conversion.restore(self.network, trained)
        with self.report.doing("drawing the report"):
            return reports.write(self.network, trained, model, self.dataset, folder, self.report)

    def verify(self, version: int | None) -> Verification:
        """Verifies a published version (None: the highest) against the checkpoint once more."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        return publication.verify(
            self.network, trained, self.dataset, self.models, self.model_name, version, self.report
        )
