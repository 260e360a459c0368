"""One network on one data set, from training to the report: what each sub-command does, on files.

Checkpoint in, model.onnx out. The options of the command line are the package cli's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from covey_export import checkpoint as checkpoints
from covey_export import model_versions, onnx_graph, publication
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset, Entry
from covey_export.datasets.loaded import LoadedDatasets
from covey_export.networks import Network
from covey_export.publication import Published
from covey_export.quantization.precision import Precision
from covey_export.reports import writing
from covey_export.reports.progress import ProgressReport
from covey_export.trained_model import TrainedModel
from covey_export.training.recipe import Recipe
from covey_export.training.run import train
from covey_export.verification_record import Verification
from covey_export.weights import Weights


@dataclass(frozen=True)
class ExportJob:
    """Where everything of one network lies. The data set is read when first needed, once, and kept."""

    network: Network
    entry: Entry
    datasets: LoadedDatasets
    checkpoint_folder: Path
    models: Path
    model_name: str
    report: ProgressReport
    weights: Weights | None = None  # to begin with, and what belongs to them
    checkpoint_labels: tuple[str, ...] | None = None  # of the checkpoint that is there
    labels_named: bool = False  # whether the user said what the outputs of the weights are
    keeps_head: bool = False  # whether the weights are published as they are
    min_accuracy: float = 0.0  # a model below it is not published
    keeps_validation: bool = False  # whether a tenth of the training images is kept from training
    calibrate: bool = False  # whether a temperature is fitted to those
    abstain: float | None = None  # the share of false alarms of a threshold for unknown images, fitted to those too
    embedding: bool = False  # whether the graph publishes the vector before the last layer

    @cached_property
    def dataset(self) -> Dataset:
        """Raises MissingDataset, InvalidDataset."""
        with self.report.doing(f"reading {self.entry.name}"):
            dataset = self.datasets.load(self.entry, self.network.spec)
        for note in dataset.notes:
            self.report.line(f"note: {note}")
        dataset = self._in_order(dataset)
        return dataset.keeping_validation() if self.keeps_validation else dataset

    def _in_order(self, dataset: Dataset) -> Dataset:
        """The data set with the classes in the order of the weights, or of the checkpoint that goes on."""
        if self.weights is not None:
            here = dataset.labels
            return dataset.in_order(self.weights.order_of(here, named=self.labels_named, whole=self.keeps_head))
        if self.checkpoint_labels is not None and set(dataset.labels) <= set(self.checkpoint_labels):
            return dataset.in_order(self.checkpoint_labels)
        return dataset

    def train(
        self, recipe: Recipe, device: torch.device, *, seed: int | None, changes: Mapping[str, Any], restart: bool
    ) -> TrainedModel:
        """Trains, or goes on, to the end, and says the accuracy in all and per class."""
        if self.embedding and (self.checkpoint_labels is None or restart):  # before hours of training, not after them
            onnx_graph.require_embedding(self.network, len(self.dataset.labels), recipe)
        checkpoint = train(
            self.network,
            self.dataset,
            recipe,
            self.checkpoint_folder,
            device,
            self.report,
            seed=seed,
            changes=changes,
            weights=self.weights,
            restart=restart,
        )
        trained = self._trained(checkpoint)
        with self.report.doing("classifying the test images"):
            found = trained.accuracy
        self.report.accuracy(self.dataset.labels, found)
        return trained

    def load_trained(self) -> TrainedModel:
        """Of the checkpoint that is there. Raises InvalidCheckpoint where there is none, or an unfinished one."""
        checkpoint = checkpoints.load_finished(self.checkpoint_folder)
        return self._trained(checkpoint)

    def _trained(self, checkpoint: Checkpoint) -> TrainedModel:
        return TrainedModel(self.network, checkpoint, self.dataset, self.calibrate, self.abstain, self.embedding)

    def publish(self, trained: TrainedModel, precision: Precision = Precision.FLOAT32) -> Published:
        """Publishes the next version of the model, verified; in another precision as a model of its own name."""
        return publication.publish(
            trained, self.models, self.model_name, self.report, precision=precision, min_accuracy=self.min_accuracy
        )

    def publish_if_new(self, trained: TrainedModel, precision: Precision = Precision.FLOAT32) -> Published:
        """As `publish`, unless the highest version was made from this very checkpoint: that one is verified once more,
        for another one like it would only make servers load it."""
        name = precision.model_name(self.model_name)
        there = publication.verify_made_from(trained, self.models, name, self.report, min_accuracy=self.min_accuracy)
        return there or self.publish(trained, precision)

    def draw_report(self, trained: TrainedModel, version: int | None) -> Path:
        """Writes report.html, report.json and MODEL_CARD.md beside a published version (None: the highest)."""
        folder = model_versions.find(self.models, self.model_name, version)
        with self.report.doing("drawing the report"):
            return writing.write(trained, folder, self.report)

    def verify(self, trained: TrainedModel, version: int | None) -> Verification:
        """Verifies a published version (None: the highest) against the checkpoint once more."""
        return publication.verify(trained, self.models, self.model_name, version, self.report)
