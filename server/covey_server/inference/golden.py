"""The golden check: on this device, a model must give the probabilities that were computed at export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covey_proto.tolerances import MAX_TOLERANCE
from covey_server.errors import RefusedModel

_MAX_SUM_ERROR = 0.02  # of a row's probabilities: a softmax in float16 or int8 adds up to 1 only nearly
_CAUSES = (
    "the file was damaged or changed since, or this device computes it otherwise. Copy the file again, or convert the "
    "model again; where that does not help, try another --device"
)


class Runnable(Protocol):
    """An engine, or in covey_export the PyTorch network."""

    def run(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class GoldenSet:
    """Images `[N, H, W, C] uint8`, their probabilities `[N, K] float32` by `reference`, and the largest
    difference allowed. `independent`: each label has a probability of its own; else they add up to 1."""

    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    tolerance: float
    reference: str = "pytorch"
    independent: bool = False


def check(engine: Runnable, golden: GoldenSet) -> float:
    """The largest absolute difference of a probability. Raises RefusedModel where it is above the tolerance, or
    where an image gets another class (see `margins`). Of independent labels a small difference is all there is: a label
    that it moves across its threshold lay as close to that.
    """
    if not 0 < golden.tolerance <= np.float32(MAX_TOLERANCE):  # the file holds a float32
        raise RefusedModel(f"golden set: a tolerance of {golden.tolerance:g}; expected above 0, to {MAX_TOLERANCE}")
    found = engine.run(golden.pixels)
    if found.shape != golden.probabilities.shape:
        raise RefusedModel(f"golden set: expected {golden.probabilities.shape} probabilities, got {found.shape}")
    _require_range(found, independent=golden.independent)
    if not golden.independent:
        _require_sums(found)
    difference = float(np.abs(found - golden.probabilities).max(initial=0.0))
    if not difference <= golden.tolerance:  # `not <=`: NaN is refused too
        raise RefusedModel(
            f"golden set: probabilities differ from those of {golden.reference} at export by up to {difference:.2g}, "
            f"allowed are {golden.tolerance:.2g}; {_CAUSES}"
        )
    wrong = int((margins(found, golden.probabilities) > golden.tolerance).sum())
    if wrong and not golden.independent:
        raise RefusedModel(
            f"golden set: {wrong} of {len(found)} images get another class than "
            f"{golden.reference} gave at export; {_CAUSES}"
        )
    return difference


def margins(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each row of two `[N, K]`: by how much `expected` holds its own most probable class for more probable than
    that of `found`; 0 where they agree. Up to the tolerance it is a tie, in which either class is right.
    """
    rows = np.arange(len(found))
    lost: NDArray[np.float32] = expected[rows, expected.argmax(axis=1)] - expected[rows, found.argmax(axis=1)]
    return lost


def _require_range(found: NDArray[np.float32], *, independent: bool) -> None:
    """Raises RefusedModel for rows that are no probabilities: NaN, or logits."""
    finite = np.isfinite(found).all(axis=1)
    if not finite.all():
        raise RefusedModel(
            f"golden set: the model gives NaN or infinity for {int((~finite).sum())} of {len(found)} images; expected "
            f"probabilities. Train or convert it again"
        )
    low, high = float(found.min()), float(found.max())
    if low < -_MAX_SUM_ERROR or high > 1 + _MAX_SUM_ERROR:
        expected = "" if independent else " that add up to 1"
        activation = "a sigmoid" if independent else "a softmax"
        raise RefusedModel(
            f"golden set: expected probabilities from 0 to 1{expected}, got numbers from {low:.3g} to "
            f"{high:.3g}: these are logits, or scores. Put {activation} behind them, as Covey does"
        )


def _require_sums(found: NDArray[np.float32]) -> None:
    """Raises RefusedModel for rows that are no probabilities of classes that exclude each other."""
    sums = found.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > _MAX_SUM_ERROR
    if wrong.any():
        worst = float(sums[np.abs(sums - 1).argmax()])
        raise RefusedModel(
            f"golden set: expected probabilities that add up to 1, within {_MAX_SUM_ERROR}, got {worst:.3g} "
            f"({int(wrong.sum())} of {len(found)} images are wrong). For labels that do not exclude each other, import "
            f"the model with covey import --activation sigmoid; for classes that do, put a softmax behind the "
            f"network, as Covey does"
        )
