"""A network's activations in space: each layer's maps as planes that stand one behind the other along an axis, the
input image first, the class probabilities last, as bars."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

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
from covey_export.reports.drawing.tiles import brighten
from covey_export.reports.layers import Layer, Recording, lay_in_rows
from covey_reports import canvas
from covey_reports.canvas import BLUE, INK, VERMILLION, Picture

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
_LABEL_STEP_INCHES, _LABEL_GAP_INCHES = 0.06, 0.03

Array = NDArray[np.float32]


@dataclass
class _Step:
    """What stands under one name: polygons `[P, 4, 3]` with their colours `[P, 4]`, the last in front."""

    name: str
    parts: list[tuple[Array, Array]]

    def corners(self) -> Array:
        """`[M, 3]`"""
        return np.concatenate([polygons.reshape(-1, 3) for polygons, _ in self.parts])


def draw_activation_space(
    image: Images, recording: Recording, probabilities: Array, labels: tuple[str, ...]
) -> Picture:
    """`image` `[H, W, C] uint8`, what its layers give, and its probabilities `[K]`. At least one layer."""
    steps, length = _build(image, _choose(recording.layers), probabilities)
    made = canvas.figure(_SIDE_INCHES, _SIDE_INCHES, fitted=False)
    axes: Axes3D = made.add_axes((0, 0, 1, 1), projection="3d", computed_zorder=False)
    axes.set_axis_off()
    for step in steps:
        for polygons, colours in step.parts:
            planes = Poly3DCollection(list(polygons), facecolors=colours, edgecolors=colours, linewidths=0.3)
            planes.set(zorder=len(axes.collections), rasterized=step is not steps[-1])  # many polygons: as pixels
            axes.add_collection3d(planes)
    _aim(axes, length)
    texts = [_name_best(made, axes, steps, probabilities, labels), *_write_names(made, axes, steps)]
    box = Bbox.union([*(_extent(made, text) for text in texts), *(_box(axes, step) for step in steps)])
    likely = np.argsort(-probabilities, kind="stable")[:3]
    passed = ", ".join(step.name.replace("\n", " ") for step in steps[1:-1])
    answers = ", ".join(f"{labels[label]} {probabilities[label]:.1%}" for label in likely)
    bars = "the class probabilities" if len(labels) <= MAX_BARS else f"the {MAX_BARS} largest probabilities"
    return canvas.render(
        made,
        "space",
        f"The image's way through the network, as planes in space, from the input through {passed} to the "
        f"probabilities: {answers}.",
        f"The same image: some of each layer's maps as planes, one behind the other; last, {bars} as bars.",
        box.padded(_MARGIN_INCHES),
    )


def _choose(layers: Sequence[Layer]) -> list[Layer]:
    places = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), MAX_LAYERS)).round().astype(int))
    return [layers[place] for place in places]


def _build(image: Images, layers: Sequence[Layer], probabilities: Array) -> tuple[list[_Step], float]:
    """All that stands along the axis, and where the last of it stands."""
    steps = [_Step("input", [_plane(_image_colours(image), 1.0, 0.0)])]
    tallest = max(image.shape[0], *(layer.size[0] for layer in layers))
    at = 0.0
    for layer in layers:
        at += _LAYER_GAP
        side = _MIN_PLANE if layer.is_vector else max(_MIN_PLANE, (layer.size[0] / tallest) ** 0.5)
        parts = [_plane(colours, side, at + number * _PLANE_STEP) for number, colours in enumerate(_colours(layer))]
        at += (len(parts) - 1) * _PLANE_STEP
        steps.append(_Step(_name(layer), parts))
    at += _LAYER_GAP
    return [*steps, _Step("probabilities", [_bars(at, probabilities)])], at


def _plane(colours: Array, side: float, at: float) -> tuple[Array, Array]:
    """`[h, w, 4]` colours as the polygons of an upright plane across the axis, at the place `at`."""
    rows, columns = colours.shape[:2]
    width, height = side * min(1.0, columns / rows), side * min(1.0, rows / columns)
    across = np.linspace(-width / 2, width / 2, columns + 1)
    up = np.linspace(height / 2, -height / 2, rows + 1)
    corners = np.stack(np.meshgrid(at, across, up), axis=-1)[:, 0].swapaxes(0, 1)  # [rows + 1, columns + 1, 3]
    quads = np.stack([corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]], axis=2)
    flat = colours.reshape(-1, 4)
    is_there = flat[:, 3] > 0
    return quads.reshape(-1, 4, 3)[is_there], flat[is_there]


def _bars(at: float, probabilities: Array) -> tuple[Array, Array]:
    """The most probable classes as bars across the axis, in the order of the classes; the best has its own colour."""
    shown = np.sort(np.argsort(-probabilities, kind="stable")[:MAX_BARS])
    step = 1 / max(len(shown), 4)
    polygons = []
    for number, label in enumerate(shown):
        middle = (number - (len(shown) - 1) / 2) * step
        left, right, high = middle - 0.38 * step, middle + 0.38 * step, max(float(probabilities[label]), 0.005) - 0.5
        polygons.append([(at, left, -0.5), (at, right, -0.5), (at, right, high), (at, left, high)])
    best = int(np.argmax(probabilities))
    colours = [matplotlib.colors.to_rgba(VERMILLION if label == best else BLUE) for label in shown]
    return np.array(polygons, np.float32), np.array(colours, np.float32)


def _aim(axes: Axes3D, length: float) -> None:
    """Looks at all from 0 to `length` so that it fills the figure's width."""
    axes.set_xlim(0, length)
    axes.set_ylim(-0.5, 0.5)
    axes.set_zlim(-0.5, 0.5)
    axes.margins(0)
    axes.set_proj_type("ortho")
    axes.view_init(elev=_ELEVATION, azim=_AZIMUTH)
    corners = np.array(list(itertools.product((0, length), (-0.5, 0.5), (-0.5, 0.5))))
    zoom = 1.0
    for _ in range(2):  # the second time for what the first one's limits were off by
        axes.set_box_aspect((length, 1, 1), zoom=zoom)
        width, height = np.ptp(_project(axes, corners), axis=0)
        zoom *= min((_SIDE_INCHES - 0.5) / width, (_SIDE_INCHES - 1.5) / height)
    axes.set_box_aspect((length, 1, 1), zoom=zoom)


def _project(axes: Axes3D, points: Array) -> Array:
    """`[M, 3]` in space to `[M, 2]` inches of the figure."""
    axes.apply_aspect()
    x, y, _ = proj3d.proj_transform(*points.T, axes.get_proj())
    inches: Array = axes.transData.transform(np.stack([x, y], axis=1)) / axes.get_figure().dpi
    return inches


def _box(axes: Axes3D, step: _Step) -> Bbox:
    """Where a step stands in the figure, in inches."""
    inches = _project(axes, step.corners())
    return Bbox([inches.min(axis=0), inches.max(axis=0)])


def _name_best(made: Figure, axes: Axes3D, steps: Sequence[_Step], probabilities: Array, labels: Sequence[str]) -> Text:
    """The most probable class and its probability above its bar, higher where planes are in the way."""
    bars, _ = steps[-1].parts[0]
    left, top = _project(axes, bars[np.argmax(bars[:, 2, 2])]).max(axis=0)
    best = int(np.argmax(probabilities))
    text = f"{canvas.drawable(labels, 16)[best]}: {probabilities[best]:.0%}"
    written = made.text((left - 0.1) / _SIDE_INCHES, (top + 0.04) / _SIDE_INCHES, text, fontsize=9, va="bottom")
    _move_clear(made, written, [_box(axes, step) for step in steps], _LABEL_STEP_INCHES)
    return written


def _write_names(made: Figure, axes: Axes3D, steps: Sequence[_Step]) -> list[Text]:
    """Each step's name below its planes, and lower with a line where names or planes are in the way."""
    boxes = [_box(axes, step) for step in steps]
    written: list[Text] = []
    for step, box in zip(steps, boxes, strict=True):
        middle, low = (box.x0 + box.x1) / 2 / _SIDE_INCHES, (box.y0 - 0.06) / _SIDE_INCHES
        text = made.text(middle, low, step.name, fontsize=8, ha="center", va="top", linespacing=1.15)
        _move_clear(made, text, [*boxes, *(_extent(made, other) for other in written)], -_LABEL_STEP_INCHES)
        lowered = text.get_position()[1]
        if lowered < low:
            ends = [low, lowered + 0.02 / _SIDE_INCHES]
            made.add_artist(Line2D([middle, middle], ends, color=INK, alpha=0.35, linewidth=0.8))
        written.append(text)
    return written


def _move_clear(made: Figure, text: Text, obstacles: Sequence[Bbox], step_inches: float) -> None:
    """Moves the text up, or down where `step_inches` is negative, until it overlaps none of the boxes, in inches."""
    while _extent(made, text).padded(_LABEL_GAP_INCHES).count_overlaps(obstacles):
        text.set_y(text.get_position()[1] + step_inches / _SIDE_INCHES)


def _extent(made: Figure, text: Text) -> Bbox:
    """Where a text stands in the figure, in inches."""
    return Bbox(text.get_window_extent().get_points() / made.dpi)


def _image_colours(image: Images) -> Array:
    step = -(-max(image.shape[:2]) // _IMAGE_CELLS)
    pixels = brighten(image)[::step, ::step].astype(np.float32) / 255
    return np.concatenate([pixels, np.ones_like(pixels[..., :1])], axis=2)


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
    """The numbers of a strip as a square."""
    numbers = values[~np.isnan(values)]
    return lay_in_rows(numbers, int(np.ceil(np.sqrt(len(numbers)))))


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
