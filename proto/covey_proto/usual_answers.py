"""How answers are counted, at export and in production: which class is most probable, and how probable it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1.classifier_pb2 import UsualAnswers

# Upper bounds of the largest probability, each included; a last bin is above them. Fine where networks are sure.
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
_BOUNDS = np.array(CONFIDENCE, np.float32)

Counts = NDArray[np.int64]


def count(probabilities: NDArray[np.float32]) -> tuple[Counts, Counts]:
    """Of `[N, K] float32` how often each class is the most probable one, `[K]`, and how often its probability is in
    each bin of CONFIDENCE, `[13]`."""
    best = probabilities.argmax(axis=1)
    largest = probabilities[np.arange(len(best)), best]
    classes = np.bincount(best, minlength=probabilities.shape[1])
    bins = np.bincount(_BOUNDS.searchsorted(largest), minlength=len(CONFIDENCE) + 1)
    return classes, bins


def to_message(probabilities: NDArray[np.float32]) -> UsualAnswers:
    """The counts of `[N, K] float32` for a model's metadata."""
    classes, bins = count(probabilities)
    return UsualAnswers(images=len(probabilities), classes=classes.tolist(), confidence=bins.tolist())
