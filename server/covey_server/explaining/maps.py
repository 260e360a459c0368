"""Layers' answers as pictures: a choice of channels, scaled down, within a limit of bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEFAULT_SIDE, MAX_SIDE = 64, 512
DEFAULT_BYTES, MAX_BYTES = 1 << 20, 8 << 20
_MAX_ROW = 4096  # numbers of a layer without rows and columns that are shown one by one


@dataclass(frozen=True)
class Maps:
    """Some of a layer's maps, `[M, H, W] float32`, in the order of their channels."""

    channels: list[int]
    values: NDArray[np.float32]
    strength: NDArray[np.float32]  # `[M]`: the mean of each map's absolute values at full size


def as_pictures(answer: NDArray[np.float32]) -> NDArray[np.float32]:
    """A layer's answer as `[C, H, W]`. One number for each channel is one picture of one row; what has two axes is one
    picture of rows and columns."""
    if is_row(answer):
        return answer.reshape(1, 1, -1)
    if answer.ndim == 3:
        return answer
    return answer.reshape(-1, *answer.shape[-2:])


def is_row(answer: NDArray[np.float32]) -> bool:
    """Whether a layer has no rows and columns, only one number for each channel."""
    return answer.ndim < 2 or (answer.ndim == 3 and answer.shape[1:] == (1, 1))


def choose(answer: NDArray[np.float32], max_channels: int, side: int, max_bytes: int, value_bytes: int) -> Maps | None:
    """The strongest maps, in the order of their channels, averaged down to `side`; None if not even one fits, or if the
    layer answered nothing. NaN and infinity become 0: no answer may hold them."""
    if not answer.size:
        return None
    pictures = as_pictures(np.where(np.isfinite(answer), answer, np.float32(0)))
    count, height, width = pictures.shape
    limit = _MAX_ROW if is_row(answer) else side
    size = (min(height, limit), min(width, limit))
    max_maps = max_bytes // max(1, size[0] * size[1] * value_bytes)
    map_count = min(count, max_maps, max_channels or count)
    if not map_count:
        return None
    strength = np.abs(pictures).mean(axis=(1, 2), dtype=np.float32)
    channels = np.sort(np.argsort(-strength, kind="stable")[:map_count])
    strongest = pictures[channels]
    return Maps(channels.tolist(), _averaged(_averaged(strongest, 1, size[0]), 2, size[1]), strength[channels])


def to_bytes(values: NDArray[np.float32]) -> tuple[bytes, NDArray[np.float32], NDArray[np.float32]]:
    """The maps `[M, H, W]` with a byte for each number, and the lowest and highest value of each map."""
    low, high = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    step = np.where(high > low, (high - low) / 255, 1)[:, None, None]
    return np.rint((values - low[:, None, None]) / step).astype(np.uint8).tobytes(), low, high


def _averaged(values: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    """Averages neighbours along an axis so that `size` numbers are left. The parts' lengths differ by at most one."""
    length = values.shape[axis]
    if length == size:
        return values
    edges = np.arange(size + 1) * length // size
    sums = np.add.reduceat(values, edges[:-1], axis=axis)
    lengths = np.diff(edges).astype(np.float32)
    return np.asarray(sums / (lengths[:, None] if axis == 1 else lengths), np.float32)
