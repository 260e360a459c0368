"""Many small pictures as one array, so that a sheet is one image to draw, not hundreds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def lay_out(pictures: Array, columns: int, gap: int) -> Array:
    """`[M, h, w, ...]` row by row as `[H, W, ...]`, `gap` pixels of NaN between them and in places left over."""
    count, height, width = pictures.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *pictures.shape[3:])
    sheet = np.full(shape, np.nan, np.float32)
    for place, picture in enumerate(pictures):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
