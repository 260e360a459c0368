"""Approximate neighbours by usearch (HNSW), where it is installed: the extra `similar`.

The graph has its own copy of the vectors in float16, half as large as the index's; what it finds is measured again with
the vectors themselves.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INSTALL = "pip install 'covey-serve[similar]'"
_ADDED_AT_ONCE = 16_384  # vectors
# Threads that add two vectors at the same moment leave them without each other as neighbours. In a small graph that may
# be all they would have had: nobody finds them then. So the first vectors are added by one thread, which takes 0.1 s
# longer (12,000 vectors of 84 numbers, 2 shared AMD EPYC cores, 2026-11-30, 3 graphs each: 15 not found, 3 with this).
_ONE_BY_ONE = 4_096


def is_installed() -> bool:
    """Whether there can be graphs here."""
    try:
        import usearch.index  # noqa: F401
    except ImportError:
        return False
    return True


class Graph:
    """The keys of an index, as neighbours of each other."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - usearch's, which need not be installed
        self._index = index

    @classmethod
    def new(cls, size: int) -> Graph:
        """An empty one, for vectors of `size` numbers."""
        from usearch.index import Index

        return cls(Index(ndim=size, metric="cos", dtype="f16"))

    @classmethod
    def read(cls, path: Path, *, to_change: bool = False) -> Graph | None:
        """The graph of a file, mapped into memory, or read `to_change` it. None where the file holds none."""
        from usearch.index import Index

        try:
            index = Index.restore(path, view=not to_change)
        except Exception:  # noqa: BLE001 - of whatever class usearch's error is, the vectors are there
            index = None
        return None if index is None else cls(index)

    def __len__(self) -> int:
        return len(self._index)

    def add(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """`[N]` keys that are not in it, and their vectors `[N, D]`."""
        start = 0
        while start < len(keys):
            count, threads = _ADDED_AT_ONCE, 0  # 0: one for each core
            if len(self) < _ONE_BY_ONE:
                count, threads = _ONE_BY_ONE - len(self), 1
            batch = slice(start, start + count)
            self._index.add(keys[batch].astype(np.uint64), np.asarray(vectors[batch], np.float32), threads=threads)
            start += count

    def remove(self, keys: NDArray[np.int64]) -> None:
        """`[N]` keys that are in it."""
        for key in keys.tolist():
            self._index.remove(key)

    def nearest(self, vector: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """The keys of about the nearest vectors of one, `[up to count]`."""
        return np.asarray(self._index.search(vector, min(count, len(self))).keys, np.int64)

    def write(self, path: Path) -> None:
        """Raises OSError."""
        try:
            self._index.save(path)
        except RuntimeError as error:  # usearch raises it for a full disk
            raise OSError(errno.EIO, str(error), str(path)) from error
        with path.open("rb+") as file:
            os.fsync(file.fileno())
