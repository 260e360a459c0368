"""The probabilities of one batch, ranked once for all requests in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FEW = 64  # classes

Ranking = tuple[list[list[int]], NDArray[np.float32]]


class Output:
    """Probabilities `[N, K] float32`; `top(k)` is computed once per k, however many requests ask for it.

    `written` is room for what a service makes of a ranking, by k, for the same reason; by 0 of all probabilities.
    """

    __slots__ = ("_rankings", "probabilities", "written")

    def __init__(self, probabilities: NDArray[np.float32]) -> None:
        self.probabilities = probabilities
        self._rankings: dict[int, Ranking] = {}
        self.written: dict[int, list[bytes]] = {}

    def top(self, k: int) -> Ranking:
        """For each row the indices and the probabilities `[N, k]` of its k most probable classes, best first.

        Equal probabilities keep the order of the classes.
        """
        ranking = self._rankings.get(k)
        if ranking is None:
            ranking = self._rankings[k] = _rank(self.probabilities, k)
        return ranking


def _rank(probabilities: NDArray[np.float32], k: int) -> Ranking:
    if len(probabilities) == 1 and probabilities.shape[1] <= _FEW:
        return _rank_one(probabilities, k)
    if k == 1:
        indices = probabilities.argmax(axis=1)[:, None]
    elif probabilities.shape[1] <= max(4 * k, _FEW):
        indices = (-probabilities).argsort(axis=1, kind="stable")[:, :k]
    else:  # sorting a thousand classes for the best five would cost more than the network's last layer
        candidates = np.sort((-probabilities).argpartition(k - 1, axis=1)[:, :k], axis=1)
        order = (-np.take_along_axis(probabilities, candidates, axis=1)).argsort(axis=1, kind="stable")
        indices = np.take_along_axis(candidates, order, axis=1)
    rows = np.arange(len(probabilities))[:, None]
    return indices.tolist(), probabilities[rows, indices]


def _rank_one(probabilities: NDArray[np.float32], k: int) -> Ranking:
    """The same for a lone row of few classes, which plain Python ranks in a third of the time."""
    row: list[float] = probabilities[0].tolist()
    best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:k]
    return [best], probabilities[:, best]
