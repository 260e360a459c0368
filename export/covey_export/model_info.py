"""What a model file says of itself: its ModelInfo with the golden set, measured on the test images."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import onnx
import torch

import covey_proto
from covey_export import onnx_graph
from covey_export.datasets.dataset import Labels
from covey_export.quantization.precision import Precision
from covey_export.trained_model import TrainedModel
from covey_proto import resize, usual_answers
from covey_proto.v1.classifier_pb2 import Build, GoldenSet, ImageSpec, ModelInfo, Training

_GOLDEN_PER_CLASS = 2
_MAX_GOLDEN_IMAGES = 32


def describe(trained: TrainedModel, name: str, version: int) -> ModelInfo:
    """All that the float32 file says of itself as `version` of the model `name`."""
    network, checkpoint = trained.network, trained.checkpoint
    height, width, channels = network.image_shape
    info = ModelInfo(
        name=name,
        version=version,
        labels=checkpoint.labels,
        input=ImageSpec(
            height=height,
            width=width,
            channels=channels,
            resize=resize.to_message(network.resize),
            crop=network.crop,
            background=network.background,
            mean=checkpoint.recipe.mean or (),
            std=checkpoint.recipe.std or (),
        ),
        training=Training(
            network=network.name,
            dataset=trained.dataset.name,
            recipe=checkpoint.recipe.name,
            epochs=len(checkpoint.history),
            seed=checkpoint.seed,
            test_accuracy=trained.accuracy.overall,
            test_images=trained.accuracy.images,
            parameters=trained.parameters,
            started_from=checkpoint.started_from,
        ),
        build=Build(
            covey_version=covey_proto.__version__,
            torch_version=torch.__version__,
            onnx_version=onnx.__version__,
            opset=onnx_graph.OPSET,
            precision=Precision.FLOAT32.value,
        ),
        golden_set=_golden_set(trained),
        usual_answers=usual_answers.to_message(trained.probabilities),
    )
    info.build.created.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    if (scaling := trained.scaling) is not None:
        info.calibration.temperature = scaling.temperature
        info.calibration.images = trained.dataset.kept_images
        info.calibration.error_before, info.calibration.error_after = scaling.error_before, scaling.error_after
    if (threshold := trained.threshold) is not None:
        info.unknown.threshold, info.unknown.images = threshold.value, threshold.images
        info.unknown.false_alarms = threshold.false_alarms
        info.unknown.test_false_alarms = threshold.test_false_alarms
    if trained.embedding:
        info.embedding_size = trained.embeddings.shape[1]
    return info


def _golden_set(trained: TrainedModel) -> GoldenSet:
    places = _golden_places(trained.dataset.test_labels)
    return GoldenSet(
        pixels=trained.dataset.test_images[places].tobytes(),
        probabilities=trained.probabilities[places].ravel().tolist(),
        tolerance=Precision.FLOAT32.tolerance,
        reference="pytorch",
    )


def _golden_places(labels: Labels) -> Labels:
    """The first image of each class, then the second: where there are many classes, one of as many as fit."""
    places = [np.flatnonzero(labels == label)[:_GOLDEN_PER_CLASS] for label in np.unique(labels)]
    by_turns = [found[turn] for turn in range(_GOLDEN_PER_CLASS) for found in places if turn < len(found)]
    return np.array(by_turns[:_MAX_GOLDEN_IMAGES], np.int64)
