"""The first layer's weights as images: what the network looks for in the pixels."""

from __future__ import annotations

import matplotlib
import numpy as np

from covey_export.reports.drawing.tiles import lay_out
from covey_export.reports.layers import Kernels
from covey_reports import canvas
from covey_reports.canvas import Picture
from covey_reports.language import say, sentences

_SIGNED_MAP = "PuOr"  # of numbers around zero
_MAX_COLUMNS = 16
_CONVOLUTION = (
    "The layer lays a kernel on each place of the image, multiplies weights and pixels that lie on each other, "
    "and adds up the products: the sum, one number of a feature map, is large where the image looks like the kernel."
)
_LINEAR = (
    "Each number of this layer multiplies all pixels by weights of its own and adds up the products: the sum "
    "is large where the image looks like the weights."
)
_MAX_TILE_INCHES, _MIN_TILE_INCHES = 0.9, 0.42


def draw_kernels(kernels: Kernels) -> Picture:
    """One tile for each kernel. Of one channel: orange below zero, purple above; of three: as colours, grey is 0."""
    values = kernels.values
    count, height, width, channels = values.shape
    tile = min(_MAX_TILE_INCHES, max(_MIN_TILE_INCHES, 6.6 / min(count, _MAX_COLUMNS)))
    columns = min(count, int(6.8 / tile))
    rows_inches = -(-count // columns) * tile * height / width
    largest = float(np.abs(values).max()) or 1.0
    made = canvas.figure(rows_inches + 0.3, columns * tile + 1.0)
    axes = made.subplots()
    axes.axis("off")
    gap = max(1, round(min(height, width) / 6))
    if channels == 1:
        colours = say("orange is below zero, purple above, white is zero")
        shown = axes.imshow(
            lay_out(values[..., 0], columns, gap),
            cmap=matplotlib.colormaps[_SIGNED_MAP].with_extremes(bad=(0, 0, 0, 0)),
            vmin=-largest,
            vmax=largest,
            interpolation="none",
        )
        scale = made.colorbar(shown, ax=axes, fraction=0.03, pad=0.04, shrink=min(1.0, 1.6 / rows_inches))
        scale.outline.set_visible(False)
        scale.ax.tick_params(labelsize=8)
    else:
        colours = say("as colours, grey is zero")
        sheet = lay_out(values / (2 * largest) + 0.5, columns, gap)
        alpha = ~np.isnan(sheet[..., :1])
        axes.imshow(np.concatenate([np.nan_to_num(sheet), alpha], axis=2), interpolation="none")
    if kernels.total == 1:
        which = "The only kernel of {layer}, {size} weights in it: {colours}."
    elif count < kernels.total:
        which = "{count} of {all:,} kernels of {layer}, {size} weights each: {colours}."
    else:
        which = "All {count} kernels of {layer}, {size} weights each: {colours}."
    seen = (
        "The first {count} of {all:,} kernels of {layer}, {size} weights each; the largest is {largest:.2f} from zero."
    )
    of: dict[str, object] = {"layer": f"{kernels.name} ({kernels.kind})", "size": f"{height}x{width}", "count": count}
    return canvas.render(
        made,
        "kernels",
        say(seen, **of, all=kernels.total, largest=largest),
        sentences(
            say(which, **of, all=kernels.total, colours=colours),
            say(_LINEAR) if "Linear" in kernels.kind else say(_CONVOLUTION),
        ),
    )
