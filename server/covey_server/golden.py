"""The golden check: a model must give here, on this device, the probabilities that were computed at export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covey_server.errors import RefusedModel

LARGEST_TOLERANCE = 0.1  # beyond it a check says nothing
_MAX_SUM_ERROR = 0.02  # of a row's probabilities: a softmax in float16 or int8 adds up to 1 only nearly


class Runnable(Protocol):
    def run(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class GoldenSet:
    """Images `[N, H, W, C] uint8`, their probabilities `[N, K] float32` by `reference`, and the largest
    difference allowed."""

    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    tolerance: float
    reference: str = "pytorch"


def check(engine: Runnable, golden: GoldenSet) -> float:
    """The largest absolute difference of a probability. Raises RefusedModel where it is above the tolerance, or
    where another class is the most probable one by more than a tie (two probabilities closer than the tolerance).
    """
    if not 0 < golden.tolerance <= np.float32(LARGEST_TOLERANCE):  # the file holds a float32
        raise RefusedModel(f"golden set: a tolerance of {golden.tolerance:g}; expected above 0, to {LARGEST_TOLERANCE}")
    found = engine.run(golden.pixels)
    if found.shape != golden.probabilities.shape or not np.isfinite(found).all():
        raise RefusedModel(f"golden set: expected {golden.probabilities.shape} finite probabilities, got {found.shape}")
    _require_probabilities(found)
    difference = float(np.abs(found - golden.probabilities).max(initial=0.0))
    if not difference <= golden.tolerance:  # so written, a difference that is no number is refused too
        raise RefusedModel(
            f"golden set: probabilities differ from those of {golden.reference} at export by up to {difference:.2g}, "
            f"allowed are {golden.tolerance:.2g}; this device does not compute the model that was exported. "
            f"Convert it again"
        )
    rows = np.arange(len(found))
    expected_class, found_class = golden.probabilities.argmax(axis=1), found.argmax(axis=1)
    margins = golden.probabilities[rows, expected_class] - golden.probabilities[rows, found_class]
    if (margins > golden.tolerance).any():
        raise RefusedModel(
            f"golden set: {int((margins > golden.tolerance).sum())} of {len(rows)} images get another class than "
            f"{golden.reference} gave at export; this device does not compute the model that was exported. "
            f"Convert it again"
        )
    return difference


def _require_probabilities(found: NDArray[np.float32]) -> None:
    """Raises RefusedModel for rows that are none: logits, or the probabilities of independent labels."""
    low, high = float(found.min(initial=0.0)), float(found.max(initial=0.0))
    sums = found.sum(axis=1, dtype=np.float64)
    worst = float(sums[np.abs(sums - 1).argmax()])
    if low < -_MAX_SUM_ERROR or high > 1 + _MAX_SUM_ERROR or abs(worst - 1) > _MAX_SUM_ERROR:
        raise RefusedModel(
            f"golden set: expected probabilities from 0 to 1 that add up to 1 in each row, got numbers from "
            f"{low:.3g} to {high:.3g} and a row that adds up to {worst:.3g}; these may be logits or "
            f"independent labels. Convert the network with covey-export, which puts a softmax behind logits"
        )
