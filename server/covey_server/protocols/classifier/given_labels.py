"""Which labels are part of an answer where labels are independent: those at or above their threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def given(
    probabilities: NDArray[np.float32], thresholds: NDArray[np.float32], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float32], list[int]]:
    """Of `[N, K]` probabilities the given labels' indices and probabilities, one row's behind the other's, and how many
    each row has: at most `most`, best first. Equal probabilities keep the order of the labels. `thresholds` is `[K]`.
    """
    rows, indices = np.nonzero(probabilities >= thresholds)
    found = probabilities[rows, indices]
    order = np.lexsort((-found, rows))  # by row, then by probability; it is stable
    counts = np.bincount(rows, minlength=len(probabilities))
    if counts.max(initial=0) > most:
        ends = counts.cumsum()
        rank = np.arange(len(rows)) - (ends - counts)[rows]  # of each label in its row; `rows` are in order already
        order = order[rank < most]
        counts = np.minimum(counts, most)
    return indices[order], found[order], counts.tolist()
