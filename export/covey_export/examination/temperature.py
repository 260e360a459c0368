"""Calibration by a temperature that scores are divided by, judged on other images than those it was fitted to.

After Guo, Pleiss, Sun, Weinberger: On calibration of modern neural networks (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Labels
from covey_export.examination.answers import Scores, log_softmax
from covey_export.reports import calibration

_LOW, _HIGH = 0.05, 20.0
_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 40  # of the search; each takes a third off the interval


@dataclass(frozen=True)
class Scaling:
    """Expected calibration errors and mean losses before and after, on images that the temperature was not fitted
    to."""

    temperature: float  # where two halves were fitted to, the mean of both
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float

    @property
    def sentence(self) -> str:
        """The result as a sentence for people."""
        return (
            f"scores divided by a temperature of {self.temperature:.3f}: expected calibration error "
            f"{self.error_before:.2%} before, {self.error_after:.2%} after; mean loss {self.loss_before:.4f} before, "
            f"{self.loss_after:.4f} after"
        )


def loss(scores: Scores, labels: Labels, temperature: float = 1.0) -> float:
    """The mean cross-entropy."""
    return float(-log_softmax(scores, temperature)[np.arange(len(labels)), labels].mean())


def fit(scores: Scores, labels: Labels) -> float:
    """The temperature of the smallest loss, by golden-section search: over its logarithm the loss has one valley."""
    low, high = math.log(_LOW), math.log(_HIGH)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(scores, labels, math.exp(left)) < loss(scores, labels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def scale(scores: Scores, labels: Labels) -> Scaling:
    """Fits to one half of the images and judges on the other, then the other way round."""
    halves = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    temperatures = np.empty(len(labels))
    for fitted, judged in (halves, halves[::-1]):
        temperatures[judged] = fit(scores[fitted], labels[fitted])
    return judge(scores, labels, temperatures)


def judge(scores: Scores, labels: Labels, temperatures: NDArray[np.float64]) -> Scaling:
    """The effect of temperatures `[N]` on these images, none of which they were fitted to."""
    before, after = log_softmax(scores), log_softmax(scores / temperatures[:, None])
    rows = np.arange(len(labels))
    return Scaling(
        float(temperatures.mean()),
        calibration.measure(np.exp(before).astype(np.float32), labels).error,
        calibration.measure(np.exp(after).astype(np.float32), labels).error,
        float(-before[rows, labels].mean()),
        float(-after[rows, labels].mean()),
    )
