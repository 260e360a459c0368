"""The probabilities of one batch, ranked once for all its requests that want the same number of classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

NOT_FINITE = (
    "the model's answer for this image is not finite (NaN or infinity), expected probabilities; tell whoever made the "
    "model which image it was"
)
_FEW = 64  # classes: up to these, plain sorting is fastest
# Of all rows of a batch together: if there are more, each request's rows are ranked and written alone, in pieces. In
# Python a ranked class takes about 100 bytes: 64 rows of 100,000 would be 640 MB at once.
MAX_SHARED_CLASSES = 65_536
PIECE_CLASSES = 4_096  # ranked and written at a time: a millisecond in which no other thread runs
_LOW_32 = np.int64(0xFFFF_FFFF)

Ranking = tuple[list[list[int]], NDArray[np.float32]]


class Output:
    """Probabilities `[N, K] float32`. For the first k that is asked for all rows are ranked at once, since most
    requests of a batch ask alike. For any other k only the request's own rows are: a caller cannot cause work for
    others' rows.

    `written` keeps what protocols have written of all rows, so that requests which ask alike share it. A protocol's key
    begins with its own writer: no protocol can read another's bytes.
    `finite` tells for each row whether all its numbers are finite, `[N] bool`; None, as nearly always, if all rows are.
    A row with NaN or infinity is no answer.
    `embedding` `[N, D] float32` is there if a request of the batch wants it.
    """

    __slots__ = ("_ranking", "_shared_k", "embedding", "finite", "probabilities", "written")

    def __init__(self, probabilities: NDArray[np.float32], embedding: NDArray[np.float32] | None = None) -> None:
        self.probabilities = probabilities
        self.embedding = embedding
        self.finite: NDArray[np.bool_] | None = None
        # The sum of squares is finite unless a number is not (or exceeds 1e19); 0.6 us for 32 rows of 10, half of what
        # np.isfinite(...).all() takes.
        if not math.isfinite(np.vdot(probabilities, probabilities)):
            finite = np.asarray(np.isfinite(probabilities).all(axis=1))
            self.finite = None if bool(finite.all()) else finite
        self._shared_k = 0
        self._ranking: Ranking | None = None
        self.written: dict[tuple[object, int], list[bytes]] = {}

    def are_finite(self, first: int, count: int) -> bool:
        """Whether all numbers of `count` rows from `first` on are finite."""
        return self.finite is None or bool(self.finite[first : first + count].all())

    def has_finite_embeddings(self, first: int, count: int) -> bool:
        """Whether all numbers of the embeddings of `count` rows from `first` on are finite, as far as there are any."""
        return self.embedding is None or bool(np.isfinite(self.embedding[first : first + count]).all())

    def shares(self, k: int) -> bool:
        """Whether this k is ranked for all rows at once."""
        if not self._shared_k and k * len(self.probabilities) <= MAX_SHARED_CLASSES:
            self._shared_k = k
        return self._shared_k == k

    def pieces(self, k: int, first: int, count: int) -> Iterator[Ranking]:
        """`top` of the rows in pieces, each small in memory and time."""
        rows = max(1, PIECE_CLASSES // k)
        for start in range(first, first + count, rows):
            yield self.top(k, start, min(rows, first + count - start))

    def top(self, k: int, first: int, count: int) -> Ranking:
        """For each of `count` rows from `first` on the indices and the probabilities `[count, k]` of its k most
        probable classes, best first. Equal probabilities keep the order of the classes.
        """
        if not self.shares(k):
            return _rank(self.probabilities[first : first + count], k)
        if self._ranking is None:
            self._ranking = _rank(self.probabilities, k)
        indices, probabilities = self._ranking
        return indices[first : first + count], probabilities[first : first + count]


def _rank(probabilities: NDArray[np.float32], k: int) -> Ranking:
    if len(probabilities) == 1 and probabilities.shape[1] <= _FEW:
        return _rank_one(probabilities, k)
    if k == 1:
        indices = probabilities.argmax(axis=1)[:, None]
    elif probabilities.shape[1] <= max(4 * k, _FEW):
        indices = (-probabilities).argsort(axis=1, kind="stable")[:, :k]
    else:  # to sort a thousand classes for the best five would cost more than the network's last layer
        indices = _best(probabilities, k)
    rows = np.arange(len(probabilities))[:, None]
    return indices.tolist(), probabilities[rows, indices]


def _best(probabilities: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """By integers that are all different: a probability's bits, and below them how early its class is."""
    classes = probabilities.shape[1]
    bits = (probabilities + np.float32(0)).view(np.int32)  # -0 becomes 0
    bits ^= bits >> 31 & 0x7FFF_FFFF  # now ordered as the numbers are, negative ones too
    keys = bits.astype(np.int64) << 32 | np.arange(classes - 1, -1, -1)
    keys.partition(classes - k, axis=1)
    best = keys[:, classes - k :]
    best.sort(axis=1)
    indices: NDArray[np.int64] = classes - 1 - (best[:, ::-1] & _LOW_32)
    return indices


def _rank_one(probabilities: NDArray[np.float32], k: int) -> Ranking:
    """The same for a lone row of few classes, which plain Python ranks in a third of the time."""
    row: list[float] = probabilities[0].tolist()
    best = sorted(range(len(row)), key=row.__getitem__, reverse=True)[:k]
    return [best], probabilities[:, best]
