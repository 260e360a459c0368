"""The golden check: a model must give here, on this device, the probabilities that PyTorch gave at export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covey_server.errors import RefusedModel


class Runnable(Protocol):
    def run(self, images: NDArray[np.uint8], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class GoldenSet:
    """Images `[N, H, W, C] uint8`, their probabilities `[N, K] float32` by PyTorch, and the largest
    difference allowed."""

    pixels: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    tolerance: float


def check(engine: Runnable, golden: GoldenSet) -> float:
    """The largest absolute difference of a probability. Raises RefusedModel where it is above the tolerance.

    Within the tolerance the most probable class can only change where PyTorch itself saw a tie (two
    probabilities closer than twice the tolerance), so that the classes need no check of their own.
    """
    found = engine.run(golden.pixels)
    if found.shape != golden.probabilities.shape or not np.isfinite(found).all():
        raise RefusedModel(f"golden set: expected {golden.probabilities.shape} finite probabilities, got {found.shape}")
    difference = float(np.abs(found - golden.probabilities).max(initial=0.0))
    if difference > golden.tolerance:
        raise RefusedModel(
            f"golden set: probabilities differ from PyTorch's by up to {difference:.2g}, allowed are "
            f"{golden.tolerance:.2g}; this device does not compute the model that was exported. Convert it again"
        )
    return difference
