"""A heat map over an image, as a PNG file. Needs no more than numpy."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_MIN_SIDE = 448  # pixels; smaller images are enlarged by a whole number
_FOR, _AGAINST = np.array([220, 30, 30], np.float32), np.array([30, 70, 220], np.float32)
_OPACITY = 0.75  # where the map is strongest


def draw(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """`image` `[H, W, C] uint8` under `heat` of any size: red above 0, blue below, stronger the further from it."""
    factor = max(1, -(-_MIN_SIDE // max(image.shape[:2])))
    large = np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)
    under = np.broadcast_to(large, (*large.shape[:2], 3)).astype(np.float32)
    over = _stretched(heat / max(float(np.abs(heat).max()), 1e-12), *large.shape[:2])[..., None]
    opacity = np.abs(over) * _OPACITY
    mixed = under * (1 - opacity) + np.where(over > 0, _FOR, _AGAINST) * opacity
    return png(np.rint(mixed).astype(np.uint8))


def _stretched(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear, each value standing for the middle of its part."""
    for axis, size in enumerate((height, width)):
        before = values.shape[axis]
        places = np.clip((np.arange(size) + 0.5) * before / size - 0.5, 0, before - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, before - 1)
        share = (places - low).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def png(pixels: NDArray[np.uint8]) -> bytes:
    """`[H, W, 3] uint8` as a PNG file: https://www.w3.org/TR/png-3/"""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # each: no filter
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
