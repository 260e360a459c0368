"""The first layer's weights as images: what the network looks for in the pixels."""

from __future__ import annotations

import matplotlib
import numpy as np

from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import Picture
from covey_export.reports.drawing.tiles import lay_out
from covey_export.reports.layers import Kernels

_MAX_COLUMNS = 16
_MAX_TILE_INCHES, _MIN_TILE_INCHES = 0.9, 0.42


def draw_kernels(kernels: Kernels) -> Picture:
    """One tile for each kernel. Of one channel: orange below zero, purple above; of three: as colours, grey is 0."""
    values = kernels.values
    count, height, width, channels = values.shape
    tile = min(_MAX_TILE_INCHES, max(_MIN_TILE_INCHES, 6.6 / min(count, _MAX_COLUMNS)))
    columns = min(count, int(6.8 / tile))
    rows = -(-count // columns)
    largest = float(np.abs(values).max()) or 1.0
    made = canvas.figure(rows * tile * height / width + 0.3, columns * tile + 1.0)
    axes = made.subplots()
    axes.axis("off")
    gap = max(1, round(min(height, width) / 6))
    if channels == 1:
        colours = matplotlib.colormaps[canvas.SIGNED_MAP].with_extremes(bad=(0, 0, 0, 0))
        sheet = lay_out(values[..., 0], columns, gap)
        shown = axes.imshow(sheet, cmap=colours, vmin=-largest, vmax=largest, interpolation="none")
        scale = made.colorbar(shown, ax=axes, fraction=0.03, pad=0.02, shrink=min(1.0, 1.6 / (rows * tile)))
    else:
        sheet = lay_out(values / (2 * largest) + 0.5, columns, gap)
        alpha = ~np.isnan(sheet[..., :1])
        axes.imshow(np.concatenate([np.nan_to_num(sheet), alpha], axis=2), interpolation="none")
        scale = None
    if scale is not None:
        scale.outline.set_visible(False)
        scale.ax.tick_params(labelsize=8)
    return canvas.render(
        made,
        "kernels",
        f"The first {count} of {kernels.total} kernels of {kernels.name} ({kernels.kind}), {height} x {width} weights "
        f"each{' in three colours' if channels == 3 else ''}; the largest weight is {largest:.2f} away from zero.",
    )
