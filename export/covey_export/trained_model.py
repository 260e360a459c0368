"""The value that travels from training through conversion, verification and report."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from covey_export import evaluation, image_classifier, onnx_graph
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.evaluation import Accuracy
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import Network


@dataclass(frozen=True)
class TrainedModel:
    """A network, its checkpoint, and the data set that it was trained on. What is made of the three is made when first
    needed, once, and kept.

    Raises InvalidCheckpoint where the checkpoint is of another network or of other images.
    """

    network: Network
    checkpoint: Checkpoint
    dataset: Dataset

    def __post_init__(self) -> None:
        self.checkpoint.require_match(self.network, self.dataset)

    @cached_property
    def classifier(self) -> ImageClassifier:
        """The trained network as it will be served, on the CPU, in evaluation mode. Raises InvalidCheckpoint."""
        found = image_classifier.build(self.network, len(self.checkpoint.labels), self.checkpoint.recipe)
        self.checkpoint.load_weights_into(found.network, trained=True)
        return found.eval()

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """PyTorch's answers `[N, K]` to the test images, which everything after training is measured against."""
        return evaluation.predict(self.classifier, torch.tensor(self.dataset.test_images))

    @cached_property
    def accuracy(self) -> Accuracy:
        """PyTorch's, on the test images."""
        return evaluation.accuracy(self.probabilities, self.dataset.test_labels)

    @cached_property
    def graph(self) -> onnx.ModelProto:
        """The float32 graph; its metadata are those of the file that was sealed last. Raises ConversionFailed."""
        return onnx_graph.export(self.classifier, self.network.image_shape)

    @property
    def parameters(self) -> int:
        """How many numbers the network holds."""
        return sum(parameter.numel() for parameter in self.classifier.network.parameters())
