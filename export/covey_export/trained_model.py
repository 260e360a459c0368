"""The value that travels from training through conversion, verification and report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from covey_export import evaluation, image_classifier, onnx_graph
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.datasets.dataset import Kept
from covey_export.errors import InvalidCheckpoint
from covey_export.evaluation import Accuracy
from covey_export.examination import temperature, unknown
from covey_export.examination.temperature import Scaling
from covey_export.examination.unknown import Threshold
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import Network
from covey_proto.v1.classifier_pb2 import ModelInfo


@dataclass(frozen=True)
class TrainedModel:
    """A network, its checkpoint, and the data set that it was trained on. What is made of the three is made when first
    needed, once, and kept.

    `calibrate`: its scores are divided by a temperature, fitted to the images that the data set keeps from training.
    `abstain`: from a threshold on, fitted to these, images are known; the share of false alarms among them. None: it
    has none.
    `embedding`: its graph publishes the vector before the last layer.

    Raises InvalidCheckpoint where the checkpoint is of another network or of other images.
    """

    network: Network
    checkpoint: Checkpoint
    dataset: Dataset
    calibrate: bool = False
    abstain: float | None = None
    embedding: bool = False

    def __post_init__(self) -> None:
        self.checkpoint.require_match(self.network, self.dataset)

    def as_described(self, info: ModelInfo) -> TrainedModel:
        """The same one, with the calibration, threshold and embedding of a published file, which `info` describes."""
        calibrate = info.HasField("calibration")
        abstain = info.unknown.false_alarms if info.HasField("unknown") else None
        embedding = info.embedding_size > 0
        is_same = (calibrate, abstain, embedding) == (self.calibrate, self.abstain, self.embedding)
        return self if is_same else replace(self, calibrate=calibrate, abstain=abstain, embedding=embedding)

    @cached_property
    def classifier(self) -> ImageClassifier:
        """The trained network as it will be served, on the CPU, in evaluation mode. Raises InvalidCheckpoint."""
        scaling = self.scaling
        return self._uncalibrated if scaling is None else self._uncalibrated.with_temperature(scaling.temperature)

    @cached_property
    def _uncalibrated(self) -> ImageClassifier:
        found = image_classifier.build(self.network, len(self.checkpoint.labels), self.checkpoint.recipe)
        self.checkpoint.load_weights_into(found.network, trained=True)
        return found.eval()

    @cached_property
    def scaling(self) -> Scaling | None:
        """The temperature, and what it does to the test images; None where there is none. Raises InvalidCheckpoint
        where the training kept no images to fit it to."""
        if not self.calibrate:
            return None
        kept, dataset, model = self._kept, self.dataset, self._uncalibrated
        fitted = temperature.fit(evaluation.scores(model, torch.tensor(kept.images)), kept.labels)
        scores = evaluation.scores(model, torch.tensor(dataset.test_images))
        return temperature.judge(scores, dataset.test_labels, np.full(len(scores), fitted))

    @cached_property
    def threshold(self) -> Threshold | None:
        """From which largest probability on an image is of a known class; None where nothing says so. Raises
        InvalidCheckpoint as `scaling` does."""
        if self.abstain is None:
            return None
        kept = evaluation.predict(self.classifier, torch.tensor(self._kept.images))
        return unknown.fit(kept, self.probabilities, self.abstain)

    @property
    def _kept(self) -> Kept:
        if self.dataset.kept is None:
            raise InvalidCheckpoint(
                "the model is calibrated or tells unknown images, which needs training images that were kept from "
                "training, and the checkpoint's training kept none; train anew with --keep-validation --restart"
            )
        return self.dataset.kept

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """PyTorch's answers `[N, K]` to the test images, which everything after training is measured against."""
        return evaluation.predict(self.classifier, torch.tensor(self.dataset.test_images))

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """PyTorch's vectors `[N, D]` before the last layer, of the test images. Raises InvalidNetwork."""
        return evaluation.embeddings(self.classifier, torch.tensor(self.dataset.test_images))

    @cached_property
    def accuracy(self) -> Accuracy:
        """PyTorch's, on the test images."""
        return evaluation.accuracy(self.probabilities, self.dataset.test_labels)

    @cached_property
    def graph(self) -> onnx.ModelProto:
        """The float32 graph; its metadata are those of the file that was sealed last. Raises ConversionFailed,
        InvalidNetwork where it can have no embedding."""
        return onnx_graph.export(self.classifier, self.network.image_shape, with_embedding=self.embedding)

    @property
    def parameters(self) -> int:
        """How many numbers the network holds."""
        return sum(parameter.numel() for parameter in self.classifier.network.parameters())
