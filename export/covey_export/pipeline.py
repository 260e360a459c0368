"""The steps of one network on one data set, each on files: checkpoint.pt in, model.onnx out.

What the command line's sub-commands do; parsing is __main__.py's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from covey_export import checkpoint as checkpoints
from covey_export import conversion, publication, training
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset, Entry
from covey_export.evaluation import accuracy, predict
from covey_export.networks import Network, require_fit
from covey_export.publication import Published
from covey_export.recipes import Recipe
from covey_export.report import Report
from covey_export.verification import Verification
from covey_server.images import InputSpec


@dataclass(frozen=True)
class Pipeline:
    """Where everything of one network lies. The data set is read when first needed, and once."""

    network: Network
    entry: Entry
    data_dir: Path | None
    checkpoint_folder: Path
    models: Path
    model_name: str
    report: Report

    @cached_property
    def dataset(self) -> Dataset:
        """Raises InvalidDataset where the images do not fit the network, before anything is read or downloaded."""
        if self.entry.image_shape is not None:
            require_fit(self.network, self.entry.name, self.entry.image_shape)
        return self.entry.load(InputSpec(*self.network.image_shape), self.data_dir)

    def prepare(self) -> None:
        """Reads the data set now, so that what is missing is found before hours of work on others."""
        _ = self.dataset

    def train(
        self, recipe: Recipe, device: torch.device, *, seed: int | None, epochs: int | None, restart: bool
    ) -> Checkpoint:
        """Trains, or goes on, to the end, and says the accuracy in all and per class."""
        trained = training.train(
            self.network,
            self.dataset,
            recipe,
            self.checkpoint_folder,
            device,
            self.report,
            seed=seed,
            epochs=epochs,
            restart=restart,
        )
        model = conversion.restore(self.network, trained)
        found = accuracy(predict(model, torch.tensor(self.dataset.test_images)), self.dataset.test_labels)
        self.report.accuracy(self.dataset.labels, found)
        return trained

    def convert(self) -> Published:
        """Publishes the finished checkpoint as the next version of the model, verified."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        return publication.publish(self.network, trained, self.dataset, self.models, self.model_name, self.report)

    def verify(self, version: int | None) -> Verification:
        """Verifies a published version (None: the highest) against the checkpoint once more."""
        trained = checkpoints.load_finished(self.checkpoint_folder)
        return publication.verify(
            self.network, trained, self.dataset, self.models, self.model_name, version, self.report
        )
