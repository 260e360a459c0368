"""The nearest vectors of a vector, by cosine distance: all compared, or those that a graph proposes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, slots=True)
class Match:
    """An image of an index. `distance` is 1 less the cosine of the angle between the two vectors: 0 of the same
    direction, up to 2."""

    name: str
    path: Path
    distance: float


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """`[N, D]` of length 1 each; zero vectors stay so, and are as far from everything as what is at right angles."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # squares of float32 may pass its range
    unit_vectors: NDArray[np.float32] = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit_vectors


def exact(
    vectors: NDArray[np.float32], query: NDArray[np.float32], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The rows of the `top` nearest of `vectors` `[N, D]` to the vector `query` `[D]`, nearest first, and their
    distances. All are of length 1 or 0. Of equal ones the first come first."""
    rows, distances = np.zeros(0, np.int64), np.zeros(0, np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        block = distances_of(vectors[start : start + _ROWS_AT_ONCE], query)
        best = _best(block, top)
        rows, distances = np.concatenate([rows, best + start]), np.concatenate([distances, block[best]])
        kept = _best(distances, top)
        rows, distances = rows[kept], distances[kept]
    return rows, distances


def among(
    vectors: NDArray[np.float32], rows: NDArray[np.int64], query: NDArray[np.float32], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """As `exact`, of these rows alone."""
    rows = np.sort(rows)
    distances = distances_of(vectors[rows], query)
    best = _best(distances, top)
    return rows[best], distances[best]


def distances_of(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row, `[N]`."""
    distances: NDArray[np.float32] = (1 - vectors @ query).clip(0, 2)
    return distances


def _best(distances: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """The indices of the `top` smallest, smallest first."""
    if len(distances) > 4 * top:
        limit = np.partition(distances, top - 1)[top - 1]
        indices = np.flatnonzero(distances <= limit)
        return indices[distances[indices].argsort(kind="stable")[:top]]
    return np.asarray(distances.argsort(kind="stable")[:top], np.int64)
