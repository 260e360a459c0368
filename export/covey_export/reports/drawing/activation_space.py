"""A network's activations in space: each layer's maps as planes that stand one behind the other along an axis, the
input image first, the class probabilities last, as bars."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from mpl_toolkits.mplot3d import Axes3D, proj3d
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.reports.drawing import canvas
from covey_export.reports.drawing.canvas import BLUE, INK, VERMILLION, Picture
from covey_export.reports.layers import Layer, Recording

MAX_LAYERS = 7
MAX_BARS = 10

_MAX_PLANES = 4  # of a layer
_MAX_CELLS = 28  # of a plane's side; each is a polygon
_IMAGE_CELLS = 56
_PLANE_STEP, _LAYER_GAP = 0.3, 0.85  # in sides of the largest plane
_MIN_PLANE = 0.45
_ELEVATION, _AZIMUTH = 13, -50  # degrees
_SIDE_INCHES = canvas.WIDTH_INCHES  # of the square figure that the picture is cut from
_MARGIN_INCHES = 0.08
_LABEL_STEP_INCHES, _LABEL_GAP_PIXELS = 0.06, 3

Array = NDArray[np.float32]


@dataclass
class _Scene:
    """What stands along the axis so far; `points` `[M, 3]` are its outermost corners, the last in front."""

    axes: Axes3D
    points: list[Array] = field(default_factory=list)
    order: int = 0

    def stand(self, polygons: Array, colours: Array, *, is_fine: bool) -> None:
        """Adds polygons `[P, 4, 3]`, as pixels where there are many (`is_fine`)."""
        self.order += 1
        made = Poly3DCollection(
            list(polygons), facecolors=colours, edgecolors=colours, linewidths=0.3, zorder=self.order
        )
        made.set_rasterized(is_fine)
        self.axes.add_collection3d(made)
        flat = polygons.reshape(-1, 3)
        low, high = flat.min(axis=0), flat.max(axis=0)
        self.points.append(
            np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        )


def draw_activation_space(
    image: Images, recording: Recording, probabilities: Array, labels: tuple[str, ...]
) -> Picture:
    """`image` `[H, W, C] uint8`, what its layers give, and its probabilities `[K]`. At least one layer."""
    layers = _choose(recording.layers)
    made = canvas.figure(_SIDE_INCHES, _SIDE_INCHES, fitted=False)
    axes: Axes3D = made.add_axes((0, 0, 1, 1), projection="3d", computed_zorder=False)
    axes.set_axis_off()
    scene = _Scene(axes)
    names = ["input"]
    firsts = [0]  # for each name, the place of its first plane in the scene's points
    scene.stand(*_plane(_image_colours(image), 1.0, 0.0), is_fine=True)
    place = 0.0
    tallest = max([image.shape[0], *(layer.size[0] for layer in layers)])
    for layer in layers:
        place += _LAYER_GAP
        names.append(_name(layer))
        firsts.append(len(scene.points))
        side = _MIN_PLANE if layer.is_vector else max(_MIN_PLANE, (layer.size[0] / tallest) ** 0.5)
        for number, colours in enumerate(_colours(layer)):
            place += _PLANE_STEP if number else 0
            scene.stand(*_plane(colours, side, place), is_fine=True)
    place += _LAYER_GAP
    names.append("probabilities")
    firsts.append(len(scene.points))
    tops = _stand_bars(scene, place, probabilities)
    _aim(axes, place)
    best = int(np.argmax(probabilities))
    top = _project(axes, tops[best][None])[0]
    said_best = f"{canvas.drawable(labels, 16)[best]}: {probabilities[best]:.0%}"
    texts = [
        made.text((top[0] - 0.08) / _SIDE_INCHES, (top[1] + 0.04) / _SIDE_INCHES, said_best, fontsize=9, va="bottom")
    ]
    texts += _write_names(made, axes, scene, names, firsts)
    corners = _project(axes, np.concatenate(scene.points))
    box = Bbox.union([*(Bbox(extent.get_points() / made.dpi) for extent in _extents(texts)), _box(corners)])
    likely = np.argsort(-probabilities, kind="stable")[:3]
    said = ", ".join(f"{labels[label]} {probabilities[label]:.1%}" for label in likely)
    return canvas.render(
        made,
        "space",
        f"The image's way through the network, as planes in space, from the input through "
        f"{', '.join(name.replace(chr(10), ' ') for name in names[1:-1])} to the probabilities: {said}.",
        box.padded(_MARGIN_INCHES),
    )


def _choose(layers: Sequence[Layer]) -> list[Layer]:
    places = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), MAX_LAYERS)).round().astype(int))
    return [layers[place] for place in places]


def _plane(colours: Array, side: float, at: float) -> tuple[Array, Array]:
    """`[h, w, 4]` colours as the polygons of an upright plane across the axis, at the place `at`."""
    rows, columns = colours.shape[:2]
    width, height = side * min(1.0, columns / rows), side * min(1.0, rows / columns)
    across = np.linspace(-width / 2, width / 2, columns + 1)
    up = np.linspace(height / 2, -height / 2, rows + 1)
    corners = np.stack(np.meshgrid(across, up), axis=-1)  # [rows + 1, columns + 1, 2]
    quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)
    quads = quads.reshape(-1, 4, 2)
    polygons = np.concatenate([np.full((*quads.shape[:2], 1), at), quads], axis=2)
    flat = colours.reshape(-1, 4)
    is_there = flat[:, 3] > 0
    return polygons[is_there], flat[is_there]


def _stand_bars(scene: _Scene, at: float, probabilities: Array) -> dict[int, Array]:
    """The most probable classes as bars across the axis, in the order of the classes; where each one's top is."""
    shown = np.sort(np.argsort(-probabilities, kind="stable")[:MAX_BARS]).tolist()
    best = int(np.argmax(probabilities))
    step = 1 / max(len(shown), 4)
    tops = {}
    polygons, colours = [], []
    for number, label in enumerate(shown):
        middle = (number - (len(shown) - 1) / 2) * step
        left, right, low = middle - 0.38 * step, middle + 0.38 * step, -0.5
        high = low + max(float(probabilities[label]), 0.005)
        polygons.append([(at, left, low), (at, right, low), (at, right, high), (at, left, high)])
        colours.append(matplotlib.colors.to_rgba(VERMILLION if label == best else BLUE))
        tops[label] = np.array([at, middle, high], np.float32)
    scene.stand(np.array(polygons, np.float32), np.array(colours, np.float32), is_fine=False)
    return tops


def _aim(axes: Axes3D, length: float) -> None:
    """Looks at all from 0 to `length` so that it fills the figure's width."""
    axes.set_xlim(0, length)
    axes.set_ylim(-0.5, 0.5)
    axes.set_zlim(-0.5, 0.5)
    axes.margins(0)
    axes.set_proj_type("ortho")
    axes.view_init(elev=_ELEVATION, azim=_AZIMUTH)
    corners = _corners(np.array([0, -0.5, -0.5]), np.array([length, 0.5, 0.5]))
    zoom = 1.0
    for _ in range(2):  # the second time for what the first one's limits were off by
        axes.set_box_aspect((length, 1, 1), zoom=zoom)
        box = _box(_project(axes, corners))
        zoom *= min((_SIDE_INCHES - 0.5) / box.width, (_SIDE_INCHES - 1.5) / box.height)
    axes.set_box_aspect((length, 1, 1), zoom=zoom)


def _corners(low: Array, high: Array) -> Array:
    """The eight corners `[8, 3]` of a box in space."""
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


def _project(axes: Axes3D, points: Array) -> Array:
    """`[M, 3]` in space to `[M, 2]` inches of the figure."""
    axes.apply_aspect()
    x, y, _ = proj3d.proj_transform(*points.T, axes.get_proj())
    inches: Array = axes.transData.transform(np.stack([x, y], axis=1)) / axes.get_figure().dpi
    return inches


def _box(inches: Array) -> Bbox:
    return Bbox([inches.min(axis=0), inches.max(axis=0)])


def _write_names(made: Figure, axes: Axes3D, scene: _Scene, names: list[str], firsts: list[int]) -> list[Text]:
    """Each layer's name below its planes, and lower with a line where its neighbours' names are in the way."""
    written: list[Text] = []
    for name, first, end in zip(names, firsts, [*firsts[1:], len(scene.points)], strict=True):
        box = _box(_project(axes, np.concatenate(scene.points[first:end])))
        middle, low = (box.x0 + box.x1) / 2 / _SIDE_INCHES, box.y0 - 0.06
        text = made.text(middle, low / _SIDE_INCHES, name, fontsize=8, ha="center", va="top", linespacing=1.15)
        lowered = low
        while any(text.get_window_extent().padded(_LABEL_GAP_PIXELS).overlaps(other) for other in _extents(written)):
            lowered -= _LABEL_STEP_INCHES
            text.set_y(lowered / _SIDE_INCHES)
        if lowered < low:
            ends = [low / _SIDE_INCHES, (lowered + 0.02) / _SIDE_INCHES]
            made.add_artist(Line2D([middle, middle], ends, color=INK, alpha=0.35, linewidth=0.8))
        written.append(text)
    return written


def _extents(texts: Sequence[Text]) -> list[Bbox]:
    return [text.get_window_extent() for text in texts]


def _image_colours(image: Images) -> Array:
    step = -(-max(image.shape[:2]) // _IMAGE_CELLS)
    pixels = image[::step, ::step].astype(np.float32)
    colours = np.ones((*pixels.shape[:2], 4), np.float32)
    # Images of a few small numbers, as the demo's, would be all black.
    colours[..., :3] = pixels / (255 if image.max() >= 64 else max(int(image.max()), 1))
    return colours


def _colours(layer: Layer) -> list[Array]:
    """`[h, w, 4]` for each plane, from the layer's smallest number to its largest."""
    planes = layer.maps[:_MAX_PLANES]
    low, high = float(np.nanmin(planes)), float(np.nanmax(planes))
    found = []
    for values in planes:
        cells = _square(values) if layer.is_vector else _shrink(values)
        colours = matplotlib.colormaps[canvas.MAP](np.nan_to_num((cells - low) / ((high - low) or 1)))
        colours[np.isnan(cells), 3] = 0
        found.append(colours.astype(np.float32))
    return found


def _square(values: Array) -> Array:
    """The numbers of a strip as a square; NaN where nothing is left."""
    numbers = values[~np.isnan(values)]
    side = int(np.ceil(np.sqrt(len(numbers))))
    rows = -(-len(numbers) // side)
    grid = np.full(rows * side, np.nan, np.float32)
    grid[: len(numbers)] = numbers
    return grid.reshape(rows, side)


def _shrink(values: Array) -> Array:
    """A large map with its cells averaged."""
    step = -(-max(values.shape) // _MAX_CELLS)
    rows, columns = (max(1, size // step) for size in values.shape)
    high, wide = min(step, values.shape[0]), min(step, values.shape[1])
    blocks = values[: rows * high, : columns * wide].reshape(rows, high, columns, wide)
    averaged: Array = blocks.mean(axis=(1, 3))
    return averaged


def _name(layer: Layer) -> str:
    size = f"{layer.total:,}" if layer.is_vector else f"{layer.total:,} x {layer.size[0]}x{layer.size[1]}"
    return f"{canvas.shorten(layer.kind, 18)}\n{size}"
