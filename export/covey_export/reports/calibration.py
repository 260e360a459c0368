"""How far a model's probabilities can be believed: the expected calibration error.

After Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks (2017). Draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Labels

BINS = 15  # the paper's


@dataclass(frozen=True)
class Bin:
    """The images whose confidence (the probability of the most probable class) is above `low`, up to `high`.

    `confidence` and `accuracy` are their means, 0 to 1; None where there is no such image.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """`error` is the mean distance of confidence and accuracy over the bins, weighted by their images: 0 to 1."""

    bins: tuple[Bin, ...]
    error: float
    mean_confidence: float

    def points(self) -> list[tuple[float, float]]:
        """(confidence, accuracy) of the bins that hold images."""
        return [
            (part.confidence, part.accuracy)
            for part in self.bins
            if part.confidence is not None and part.accuracy is not None
        ]


def measure(probabilities: NDArray[np.float32], labels: Labels, bins: int = BINS) -> Calibration:
    """The calibration of `probabilities` `[N, K]` against `labels` `[N]`, in bins of equal width."""
    confidences = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)
    found = []
    error = 0.0
    for place in range(bins):
        inside = places == place
        images = int(inside.sum())
        confidence = float(confidences[inside].mean()) if images else None
        accuracy = float(right[inside].mean()) if images else None
        found.append(Bin(float(edges[place]), float(edges[place + 1]), images, confidence, accuracy))
        if confidence is not None and accuracy is not None:
            error += images * abs(accuracy - confidence)
    return Calibration(tuple(found), error / len(labels), float(confidences.mean()))
