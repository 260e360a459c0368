"""What each layer makes of one image, as flat sheets: one row of maps for each layer."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.reports.drawing.tiles import brighten, lay_out
from covey_export.reports.layers import MAX_MAPS, Layer, Recording
from covey_reports import canvas
from covey_reports.canvas import Picture
from covey_reports.language import counted, say, sentences

Array = NDArray[np.float32]

_TITLE_INCHES, _SPACE_INCHES = 0.30, 0.12
_MAX_TILE_INCHES, _MIN_TILE_INCHES = 1.1, 0.75
_MAX_CELL_INCHES = 0.17  # of a vector's numbers


def draw_feature_maps(title: str, image: Images, recording: Recording, name: str = "maps") -> Picture:
    """`image` `[H, W, C] uint8` and below it every layer's first maps, dark to bright from the layer's smallest
    number to its largest. At least one layer."""
    colours = matplotlib.colormaps[canvas.MAP].with_extremes(bad=(0, 0, 0, 0))
    layers = recording.layers
    shape = (_MAX_TILE_INCHES * image.shape[1] / image.shape[0], _MAX_TILE_INCHES)
    rows: list[tuple[str, Array | Images, tuple[float, float]]]
    rows = [(say("input"), brighten(image), shape), *((_title(layer), *_sheet(layer)) for layer in layers)]
    height_inches = sum(height + _TITLE_INCHES + _SPACE_INCHES for *_, (_, height) in rows)
    made = canvas.figure(height_inches, fitted=False)
    top = height_inches
    for words, sheet, (width, height) in rows:
        top -= _TITLE_INCHES
        made.text(0, (top + 0.06) / height_inches, words, fontsize=9.5, va="bottom", ha="left")
        top -= height
        axes = made.add_axes((0, top / height_inches, width / canvas.WIDTH_INCHES, height / height_inches))
        axes.axis("off")
        axes.imshow(sheet, cmap=colours, interpolation="none", aspect="auto")
        top -= _SPACE_INCHES
    caption = say(
        "{title} on its way through the network, in the order in which layers run. In each layer dark is its smallest "
        "number, yellow its largest.",
        title=title,
    )
    left_out = ""
    if len(layers) < recording.layers_in_all:
        left_out = say("{shown} of {all} layers are shown.", shown=len(layers), all=recording.layers_in_all)
    description = say(
        "Feature maps of {title}, layer by layer: {layers}.",
        title=f"{title[0].lower()}{title[1:]}",
        layers=", ".join(map(_title, layers)),
    )
    return canvas.render(made, name, description, sentences(caption, left_out))


def _sheet(layer: Layer) -> tuple[Array, tuple[float, float]]:
    """The layer's maps side by side, and the sheet's width and height in inches."""
    maps = layer.maps
    _, height, width = maps.shape
    if layer.is_vector:
        cell = min(_MAX_CELL_INCHES, canvas.WIDTH_INCHES / width, 1.6 / height)
        return maps[0], (cell * width, cell * height)
    sheet = lay_out(maps, MAX_MAPS, max(1, width // 12))
    tile = min(_MAX_TILE_INCHES, canvas.WIDTH_INCHES * width / sheet.shape[1])
    if len(maps) < MAX_MAPS:
        tile = min(tile, _MIN_TILE_INCHES)
    return sheet, (tile * sheet.shape[1] / width, tile * height / width)


def _title(layer: Layer) -> str:
    name = f"{canvas.shorten(layer.name, 40)}  {layer.kind}" if layer.name else layer.kind
    if layer.is_vector:
        return say("{name}: {count:,} numbers", name=name, count=layer.total)
    height, width = layer.size
    maps = counted(layer.total, "map")
    if len(layer.maps) < layer.total:
        maps = say("{shown} of {all:,} maps", shown=len(layer.maps), all=layer.total)
    return f"{name}: {maps}, {height}x{width}"
