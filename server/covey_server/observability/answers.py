"""What a model answers: which classes, how surely, and whether that has drifted from what it answered on test images.

Answers are kept as they come and counted later, many at once: 1,024 rows of 10 classes take 118 us together, and 15 us
each one by one (CPU time, the fastest of 20 and 5 rounds, 2 shared AMD EPYC cores, quiet, 2026-11-30).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_proto import usual_answers
from covey_proto.usual_answers import CONFIDENCE, Counts
from covey_proto.v1.classifier_pb2 import UsualAnswers

ENTROPY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MAX_CLASSES = 100  # shown by name; all others together are `other`
_OTHER = "other"
_KEPT_ROWS, _KEPT_BYTES = 1024, 1 << 20  # of answers that wait to be counted
# Of images in a window before drift is told: fewer differ from the test images by chance. 0.25 is what is called a
# large shift; with 20 bins chance alone makes 0.02 of a thousand.
_MIN_IMAGES = 1000
_MAX_BINS = 20  # classes are put together where there are more: with many bins chance alone looks like drift
_ENTROPY_BOUNDS = np.array(ENTROPY, np.float32)


class Drift(NamedTuple):
    """How far the answers of late are from usual: the population stability index (0.1: look, 0.25: large), and how
    probable so large a difference is by chance alone."""

    stability_index: float
    p_value: float


class Answers:
    """The answers of one model version. Not for several threads at once."""

    def __init__(self, labels: tuple[str, ...], usual: UsualAnswers, window: int, *, is_exclusive: bool = True) -> None:
        """`usual`: what the model answered on test images; empty if that is not known. `window`: how many images drift
        looks back at, at least; twice as many at the most. `is_exclusive`: one class of all is right; there is no
        entropy otherwise."""
        self.labels = labels
        self.is_exclusive = is_exclusive
        self.classes = np.zeros(len(labels), np.int64)
        self.confidence = np.zeros(len(CONFIDENCE) + 1, np.int64)
        self.entropy = np.zeros(len(ENTROPY) + 1, np.int64)
        self.confidence_sum = self.entropy_sum = 0.0
        self._window = window
        self.compare_with(usual)
        self._before, self._now = (_Part(len(labels)) for _ in range(2))
        self._kept: list[NDArray[np.float32]] = []
        self._kept_rows = self._kept_bytes = 0

    def compare_with(self, usual: UsualAnswers) -> None:
        """Sets what drift compares with; where that is empty or makes no sense, there is none."""
        self._usual = _Usual(usual) if self._window and _is_whole(usual, len(self.labels)) else None

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """Counts `[N, K] float32`, soon."""
        self._kept.append(probabilities)
        self._kept_rows += len(probabilities)
        self._kept_bytes += probabilities.nbytes
        if self._kept_rows >= _KEPT_ROWS or self._kept_bytes >= _KEPT_BYTES:
            self.count()

    def count(self) -> None:
        """Counts what is kept."""
        if not self._kept:
            return
        kept, self._kept = self._kept, []
        self._kept_rows = self._kept_bytes = 0
        probabilities = kept[0] if len(kept) == 1 else np.concatenate(kept)
        classes, confidence = usual_answers.count(probabilities)
        self.classes += classes
        self.confidence += confidence
        self.confidence_sum += float(probabilities.max(axis=1).sum(dtype=np.float64))
        if self.is_exclusive:
            relative = _entropy(probabilities)
            self.entropy += np.bincount(_ENTROPY_BOUNDS.searchsorted(relative), minlength=len(ENTROPY) + 1)
            self.entropy_sum += float(relative.sum(dtype=np.float64))
        if self._usual is not None:
            self._now.add(classes, confidence)
            if self._now.images >= self._window:
                self._before, self._now = self._now, _Part(len(self.labels))

    def by_class(self) -> list[tuple[str, int]]:
        """How many images each class was answered for, the first hundred by name."""
        return name_classes(self.labels, self.classes.tolist())

    @property
    def recent(self) -> int:
        """How many images drift looks at now."""
        return self._before.images + self._now.images

    def drift(self) -> dict[str, Drift]:
        """Of the predicted classes, and of the confidence; empty while there are too few images, or nothing to compare
        them with."""
        if self._usual is None or self.recent < min(_MIN_IMAGES, self._window):
            return {}
        return {
            "classes": self._usual.drift_of_classes(self._before.classes + self._now.classes),
            "confidence": self._usual.drift_of_confidence(self._before.confidence + self._now.confidence),
        }


def name_classes(labels: Sequence[str], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Counts by label; beyond a hundred together."""
    named = list(zip(labels, counts, strict=True))
    if len(named) <= MAX_CLASSES:
        return named
    return [*named[:MAX_CLASSES], (_OTHER, sum(counts[MAX_CLASSES:]))]


class _Part:
    """Counts of a part of the window."""

    def __init__(self, classes: int) -> None:
        self.images = 0
        self.classes = np.zeros(classes, np.int64)
        self.confidence = np.zeros(len(CONFIDENCE) + 1, np.int64)

    def add(self, classes: Counts, confidence: Counts) -> None:
        self.images += int(classes.sum())
        self.classes += classes
        self.confidence += confidence


class _Usual:
    """What the model answered on test images, in bins that each hold enough of them."""

    def __init__(self, usual: UsualAnswers) -> None:
        self._classes, self._confidence = (np.array(each, np.int64) for each in (usual.classes, usual.confidence))
        self._class_bins, self._confidence_bins = (_bins(each) for each in (self._classes, self._confidence))

    def drift_of_classes(self, seen: Counts) -> Drift:
        return _drift(self._classes, seen, self._class_bins)

    def drift_of_confidence(self, seen: Counts) -> Drift:
        return _drift(self._confidence, seen, self._confidence_bins)


def _is_whole(usual: UsualAnswers, classes: int) -> bool:
    """Whether the counts in a model's file fit it and each other, and are enough."""
    if (len(usual.classes), len(usual.confidence)) != (classes, len(CONFIDENCE) + 1):
        return False
    return _MIN_IMAGES <= usual.images < 2**53 and usual.images == sum(usual.classes) == sum(usual.confidence)


def _bins(usual: Counts) -> Counts:
    """Where each bin begins: neighbours are put together until a bin has a fair share of the images."""
    fair = usual.sum() / min(_MAX_BINS, 2 * len(usual))
    starts, held = [0], 0
    for place, each in enumerate(usual.tolist()):
        if held >= fair:
            starts.append(place)
            held = 0
        held += each
    if held < fair / 2 and len(starts) > 1:
        starts.pop()
    return np.array(starts, np.int64)


def _drift(usual: Counts, seen: Counts, bins: Counts) -> Drift:
    expected, found = (np.add.reduceat(each, bins).astype(np.float64) for each in (usual, seen))
    # Half an image more in each bin: an empty one would make the index infinite.
    p, q = ((each + 0.5) / (each.sum() + len(bins) / 2) for each in (expected, found))
    index = float(((q - p) * np.log(q / p)).sum())
    total = expected + found
    scale = math.sqrt(found.sum() / expected.sum())
    squares = (expected * scale - found / scale) ** 2
    statistic = float(np.divide(squares, total, out=np.zeros_like(squares), where=total > 0).sum())
    return Drift(index, _chi_square_p_value(statistic, len(bins) - 1))


def _chi_square_p_value(statistic: float, freedom: int) -> float:
    """The probability of a larger chi-square, by Wilson and Hilferty's approximation (1931): off by 0.01 at most."""
    if freedom < 1:
        return 1.0
    part = 2 / (9 * freedom)
    return 0.5 * math.erfc((math.cbrt(statistic / freedom) - 1 + part) / math.sqrt(2 * part))


def _entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """How undecided each row is: 0, all for one class; 1, all classes alike."""
    classes = probabilities.shape[1]
    clipped = np.clip(probabilities, np.float32(1e-12), None)
    found: NDArray[np.float32] = -(clipped * np.log(clipped)).sum(axis=1) / np.float32(math.log(max(classes, 2)))
    return found
