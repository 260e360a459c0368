"""What each layer makes of one image, as flat sheets: one row of maps for each layer."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import Picture
from covey_export.reports.drawing.tiles import lay_out
from covey_export.reports.layers import MAX_MAPS, Layer, Recording

Array = NDArray[np.float32]

_TITLE_INCHES = 0.30
_SPACE_INCHES = 0.12
_MAX_TILE_INCHES = 1.1
_MAX_CELL_INCHES = 0.17  # of a vector's numbers


def draw_feature_maps(image: Images, recording: Recording) -> Picture:
    """`image` `[H, W, C] uint8` and below it every layer's first maps, dark to bright from the layer's smallest
    number to its largest. At least one layer."""
    colours = matplotlib.colormaps[canvas.MAP].with_extremes(bad=(0, 0, 0, 0))
    rows: list[tuple[str, Array, float, float]]
    pixels: Array = (image / 255).astype(np.float32)
    rows = [("input", pixels, *_image_size(image))]
    for layer in recording.layers:
        sheet, width, height = _sheet(layer)
        rows.append((_title(layer), sheet, width, height))
    total = sum(height + _TITLE_INCHES + _SPACE_INCHES for *_, height in rows)
    made = canvas.figure(total, fitted=False)
    top = total
    for place, (title, sheet, width, height) in enumerate(rows):
        top -= _TITLE_INCHES
        made.text(0, (top + 0.06) / total, title, fontsize=9.5, va="bottom", ha="left")
        top -= height
        axes = made.add_axes((0, top / total, width / canvas.WIDTH_INCHES, height / total))
        axes.axis("off")
        if place == 0:
            grey = sheet.shape[2] == 1
            shown = sheet[..., 0] if grey else sheet
            axes.imshow(shown, cmap="gray", vmin=0, vmax=_brightest(image), interpolation="none", aspect="auto")
        else:
            low, high = _limits(sheet)
            axes.imshow(sheet, cmap=colours, vmin=low, vmax=high, interpolation="none", aspect="auto")
        top -= _SPACE_INCHES
    left_out = recording.layers_in_all - len(recording.layers)
    more = f" {left_out} other layers are left out." if left_out else ""
    return canvas.render(
        made,
        "maps",
        f"Feature maps of one test image, layer by layer: {', '.join(_title(layer) for layer in recording.layers)}."
        f"{more}",
    )


def _brightest(image: Images) -> float:
    """Images of a few small numbers, as the demo's, would be all black."""
    return max(float(image.max()), 1.0) / 255 if image.max() < 64 else 1.0


def _image_size(image: Images) -> tuple[float, float]:
    height, width, _ = image.shape
    return _MAX_TILE_INCHES * width / height, _MAX_TILE_INCHES


def _sheet(layer: Layer) -> tuple[Array, float, float]:
    """The layer's maps side by side, and the width and height in inches."""
    maps = layer.maps
    _, height, width = maps.shape
    if layer.is_vector:
        cell = min(_MAX_CELL_INCHES, canvas.WIDTH_INCHES / width, 1.6 / height)
        return maps[0], cell * width, cell * height
    sheet = lay_out(maps, MAX_MAPS, max(1, width // 12))
    tile = min(_MAX_TILE_INCHES, canvas.WIDTH_INCHES * width / sheet.shape[1])
    if len(maps) < MAX_MAPS:
        tile = min(tile, max(0.75, canvas.WIDTH_INCHES / MAX_MAPS))
    return sheet, tile * sheet.shape[1] / width, tile * height / width


def _limits(sheet: Array) -> tuple[float, float]:
    low, high = float(np.nanmin(sheet)), float(np.nanmax(sheet))
    return low, high if high > low else low + 1


def _title(layer: Layer) -> str:
    name = f"{canvas.shorten(layer.name, 40)}  {layer.kind}" if layer.name else layer.kind
    if layer.is_vector:
        return f"{name}: {layer.total:,} numbers"
    height, width = layer.size
    which = f"{len(layer.maps)} of {layer.total:,} maps" if len(layer.maps) < layer.total else f"{layer.total} maps"
    return f"{name}: {which.replace('1 maps', '1 map') if layer.total == 1 else which}, {height}x{width}"
