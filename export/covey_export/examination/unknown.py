"""Whether a model's own scores tell images of unknown classes from those of known ones.

Scores: the largest probability (Hendrycks, Gimpel 2017) and the energy (Liu, Wang, Owens, Li 2020). The threshold is
the one that 95 % of known images pass, set on one half of them and judged by the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.examination.answers import Scores, log_softmax
from covey_reports.language import counted, say

KEPT = 0.95  # share of known images that a threshold lets pass
_PIECES = 4  # along each side, of a shuffled image

Certainty = NDArray[np.float64]  # [N], the larger the more certain


@dataclass(frozen=True)
class Threshold:
    """The largest probability from which on an image counts as one of a known class, and the shares of known images
    below it: the requested share of the `images` that it was fitted to, and the measured one of test images."""

    value: float
    false_alarms: float
    test_false_alarms: float
    images: int

    @property
    def sentence(self) -> str:
        """The threshold as a sentence for people."""
        return say(
            "images are unknown where no class reaches a probability of {value:.6g}, as on {share:.2%} of {images} and "
            "{tested:.2%} of the test images",
            value=self.value,
            share=self.false_alarms,
            images=counted(self.images, "validation image"),
            tested=self.test_false_alarms,
        )


@dataclass(frozen=True)
class Detection:
    """Shares of 1: of known images that are taken for unknown, and of unknown ones that are taken for known. `area`:
    how often a known image is more certain than an unknown one (the area under the ROC curve)."""

    false_alarms: float
    misses: float
    area: float


def probability(scores: Scores) -> Certainty:
    """The largest probability."""
    return np.asarray(np.exp(log_softmax(scores).max(axis=1)))


def energy(scores: Scores) -> Certainty:
    """The logarithm of the sum of the exponentials of all scores."""
    largest = scores.max(axis=1)
    return np.asarray(largest + np.log(np.exp(scores - largest[:, None]).sum(axis=1)))


CERTAINTIES: Mapping[str, Callable[[Scores], Certainty]] = {"largest probability": probability, "energy": energy}


def fit(kept: NDArray[np.float32], tested: NDArray[np.float32], false_alarms: float) -> Threshold:
    """The largest threshold below which at most the share `false_alarms` of the images kept from training lies, by
    their probabilities `[N, K]`. `tested` are those of the test images."""
    value = np.sort(kept.max(axis=1))[int(false_alarms * len(kept))]
    return Threshold(float(value), false_alarms, float((tested.max(axis=1) < value).mean()), len(kept))


def detect(known: Certainty, unknown: Certainty) -> Detection:
    """How well a threshold tells known images from unknown ones."""
    order = np.random.default_rng(0).permutation(len(known))
    fitted, judged = known[order[: len(known) // 2]], known[order[len(known) // 2 :]]
    threshold = np.quantile(fitted, 1 - KEPT)
    places = np.searchsorted(np.sort(unknown), judged, side="left")
    ties = np.searchsorted(np.sort(unknown), judged, side="right") - places
    area = float((places + ties / 2).mean() / len(unknown))
    return Detection(float((judged < threshold).mean()), float((unknown >= threshold).mean()), area)


def synthetic_images(images: Images) -> dict[str, Images]:
    """As many images of nothing as those given: noise, and the same images cut in 16 pieces and shuffled."""
    random = np.random.default_rng(0)
    return {
        "uniform noise": random.integers(0, 256, images.shape, dtype=np.uint8),
        "its own images, shuffled in 16 pieces": _shuffled(images, random),
    }


def _shuffled(images: Images, random: np.random.Generator) -> Images:
    shuffled = images.copy()
    high, wide = images.shape[1] // _PIECES, images.shape[2] // _PIECES
    if not high or not wide:
        return shuffled
    boxes = [
        (slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide))
        for row in range(_PIECES)
        for column in range(_PIECES)
    ]
    for source, target in zip(images, shuffled, strict=True):
        order = random.permutation(len(boxes))
        while (order == np.arange(len(boxes))).all():
            order = random.permutation(len(boxes))
        for index, box in enumerate(boxes):
            target[box] = source[boxes[order[index]]]
    return shuffled
