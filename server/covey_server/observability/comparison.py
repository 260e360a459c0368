"""The answers of one version against those of another, for the same images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covey_server.observability.answers import name_classes

# Of an image: the same class; another class; the shadow failed, or answered what is no number; there was no time for
# it; its input or labels differ, so that nothing can be compared.
Result = Literal["agrees", "differs", "failed", "skipped", "other_contract"]
DIFFERENCES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
_BOUNDS = np.array(DIFFERENCES, np.float32)


@dataclass(frozen=True)
class Comparison:
    """What came of some images. `places [N] int64` are those of the images that differ, `classes [N] int64` what was
    served for them, `differences [M] float32` the largest difference of a probability of each image that ran, `seconds`
    the time they took."""

    results: dict[Result, int]
    classes: NDArray[np.int64] | None = None
    differences: NDArray[np.float32] | None = None
    seconds: float = 0.0
    places: NDArray[np.int64] | None = None


def compare(served: NDArray[np.float32], found: NDArray[np.float32], seconds: float) -> Comparison:
    """Compares probabilities `[N, K] float32`."""
    if not np.isfinite(found).all():
        return Comparison({"failed": len(found)}, seconds=seconds)
    best = served.argmax(axis=1)
    differing = np.flatnonzero(found.argmax(axis=1) != best)
    results: dict[Result, int] = {"agrees": len(best) - len(differing), "differs": len(differing)}
    return Comparison(results, best[differing], np.abs(found - served).max(axis=1), seconds, differing)


class ShadowCounts:
    """The sums of a version's comparisons."""

    def __init__(self) -> None:
        self.results: Counter[Result] = Counter()
        self.differences = np.zeros(len(DIFFERENCES) + 1, np.int64)
        self.difference_sum = self.seconds = 0.0
        self._classes: Counter[int] = Counter()

    def add(self, found: Comparison) -> None:
        """Counts a comparison."""
        if not self.results:  # counters begin at 0: the rate of one that begins with a failure would leave that out
            self.results.update({"agrees": 0, "differs": 0, "failed": 0, "skipped": 0})
        self.results.update(found.results)
        self.seconds += found.seconds
        if found.differences is not None:
            self.differences += np.bincount(_BOUNDS.searchsorted(found.differences), minlength=len(DIFFERENCES) + 1)
            self.difference_sum += float(found.differences.sum(dtype=np.float64))
        if found.classes is not None:
            self._classes.update(found.classes.tolist())

    def by_class(self, labels: Sequence[str]) -> list[tuple[str, int]]:
        """How many images differed, by the class that was served."""
        return name_classes(labels, [self._classes[place] for place in range(len(labels))])
