"""Pixels and maps as arrays to draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images

Array = NDArray[np.float32]

_DARK = 64  # an image without anything brighter is stretched, else it would be black (the demo's numbers 0 to 4)


def lay_out(pictures: Array, columns: int, gap: int) -> Array:
    """`[M, h, w, ...]` row by row as `[H, W, ...]`, `gap` pixels of NaN between them and in places left over: a sheet
    is one image to draw, not hundreds."""
    count, height, width = pictures.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *pictures.shape[3:])
    sheet = np.full(shape, np.nan, np.float32)
    for place, picture in enumerate(pictures):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def brighten(image: Images) -> Images:
    """`[H, W, C] uint8` as RGB `[H, W, 3] uint8`; an image of small numbers only, so that they can be told apart."""
    if image.max() < _DARK:
        image = (image * (255 // max(int(image.max()), 1))).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))
