"""What a model's outputs are, as its file says: one class of all, or independent labels with thresholds.

What is not known here, or what contradicts itself, is refused: read as another kind, answers would mislead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.errors import RefusedModel

DEFAULT_THRESHOLD = 0.5


def read(info: ModelInfo) -> NDArray[np.float32] | None:
    """The thresholds of independent labels, `[K] float32`, from where on each is part of the answer; None of a model
    that answers with one class of all. Raises RefusedModel."""
    if info.answer == ModelInfo.ANSWER_INDEPENDENT:
        return _thresholds(info)
    if info.answer not in (ModelInfo.ANSWER_UNSPECIFIED, ModelInfo.ANSWER_EXCLUSIVE):
        raise RefusedModel(
            f"a kind of answer ({info.answer}) that is not known here, expected exclusive classes "
            f"({ModelInfo.ANSWER_EXCLUSIVE}) or independent labels ({ModelInfo.ANSWER_INDEPENDENT}); the model needs a "
            f"newer server, or was not made by Covey"
        )
    if info.thresholds:
        raise RefusedModel(
            f"{len(info.thresholds)} thresholds in metadata {metadata.KEY}; expected none for exclusive classes, of "
            f"which the most probable one is the answer. Convert the model again"
        )
    return None


def known_from(info: ModelInfo) -> np.float32 | None:
    """The largest probability from which on an image counts as one of a known class; None of a model that cannot tell.
    Raises RefusedModel."""
    if not info.HasField("unknown"):
        return None
    if info.answer == ModelInfo.ANSWER_INDEPENDENT:
        raise RefusedModel(
            f"a threshold for unknown images in metadata {metadata.KEY} beside independent labels, which may all be "
            f"absent; expected it for exclusive classes alone. Make the model again"
        )
    threshold = np.float32(info.unknown.threshold)
    if not 0 < threshold <= 1:  # NaN is refused too
        raise RefusedModel(
            f"a threshold of {threshold:g} for unknown images in metadata {metadata.KEY}; expected a probability above "
            f"0, to 1. Convert the model again"
        )
    return threshold


def _thresholds(info: ModelInfo) -> NDArray[np.float32]:
    said = np.array(info.thresholds or [DEFAULT_THRESHOLD], np.float32)
    labels = len(info.labels)
    if len(said) not in (1, labels):
        raise RefusedModel(
            f"{len(said):,} thresholds in metadata {metadata.KEY}; expected one for all labels, or {labels:,}: one for "
            f"each. Import the model again"
        )
    wrong = ~((said >= 0) & (said <= 1))  # NaN is wrong too
    if wrong.any():
        raise RefusedModel(
            f"a threshold of {float(said[wrong][0]):g} in metadata {metadata.KEY}; expected a probability, from 0 to "
            f"1. Import the model again"
        )
    return np.array(np.broadcast_to(said, labels))
