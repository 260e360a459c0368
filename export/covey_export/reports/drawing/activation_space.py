"""A network's activations in space: each layer's maps as planes that stand one behind the other along an axis, the
input image first; last a list of the classes with their probabilities as bars."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D, Bbox
from numpy.typing import NDArray

from covey_export.datasets.dataset import Images
from covey_export.reports.drawing.tiles import brighten
from covey_export.reports.layers import Layer, Recording, lay_in_rows
from covey_reports import canvas
from covey_reports.canvas import BLUE, INK, VERMILION, Picture
from covey_reports.language import say

MAX_LAYERS = 7
MAX_BARS = 10

_MAX_PLANES = 4  # of a layer
_MAX_PIXELS = 112  # of a side of the input image
_PLANE_STEP, _LAYER_GAP = 0.3, 0.85  # in sides of the largest plane
_MIN_PLANE = 0.45
_MAX_PLANE_INCHES = 1.6
# Where a step along the axis, across it and up leads in the picture, seen from 13 degrees above, 40 beside the axis.
_VIEW = np.array([[0.766, -0.145], [0.643, 0.172], [0.0, 0.974]])
_MARGIN_INCHES, _LABEL_INCHES = 0.25, 0.9  # the latter above and below the planes
_LABEL_STEP_INCHES, _LABEL_GAP_INCHES = 0.06, 0.03
_ROW_INCHES, _BAR_INCHES = 0.17, 1.0  # of the probabilities: the height of a row, the length of a full bar
_LETTER_INCHES, _SHARE_INCHES = 0.09, 0.6  # of their width: a letter of a name; the percentage with its gaps

Array = NDArray[np.float32]


def draw_activation_space(
    image: Images, recording: Recording, probabilities: Array, labels: tuple[str, ...], name: str = "space"
) -> Picture:
    """`image` `[H, W, C] uint8`, what its layers give, and its probabilities `[K]`. At least one layer."""
    count = min(len(recording.layers), MAX_LAYERS)
    chosen = np.unique(np.linspace(0, len(recording.layers) - 1, count).round().astype(int))
    layers = [recording.layers[place] for place in chosen]
    tallest = max(image.shape[0], *(layer.size[0] for layer in layers))
    names = canvas.drawable(labels, 16)
    list_inches = max(map(len, names)) * _LETTER_INCHES + _BAR_INCHES + _SHARE_INCHES
    scene = _Scene([min(len(layer.maps), _MAX_PLANES) for layer in layers], list_inches)
    step = -(-max(image.shape[:2]) // _MAX_PIXELS)
    scene.add_planes(say("input"), [brighten(image)[::step, ::step]], 1.0)
    for layer in layers:
        side = _MIN_PLANE if layer.is_vector else max(_MIN_PLANE, (layer.size[0] / tallest) ** 0.5)
        scene.add_planes(_name(layer), _planes(layer), side)
    scene.add_bars(probabilities, names)
    likely = np.argsort(-probabilities, kind="stable")[:3]
    passed = ", ".join(_name(layer).replace("\n", " ") for layer in layers)
    answers = ", ".join(f"{labels[label]} {probabilities[label]:.1%}" for label in likely)
    bars = say("all classes")
    if len(labels) > MAX_BARS:
        bars = say("the {count} most probable classes", count=MAX_BARS)
    return canvas.render(
        scene.finish(),
        name,
        say(
            "The image's way through the network, as planes in space, from the input through {passed} to the "
            "probabilities: {answers}.",
            passed=passed,
            answers=answers,
        ),
        say(
            "The same image: some of each layer's maps as planes, one behind the other; last, {bars} with their "
            "probabilities.",
            bars=bars,
        ),
    )


class _Scene:
    """Planes and bars across an axis, from back to front. Its own lengths are in sides of the largest plane; the
    drawing's coordinates are inches."""

    def __init__(self, planes: Sequence[int], list_inches: float) -> None:
        """`planes`: how many each layer will have; `list_inches`: the width of the list of classes."""
        length = sum(_LAYER_GAP + _PLANE_STEP * (count - 1) for count in planes)
        width, height = np.abs(_VIEW).T @ (length, 1, 1)
        self._scale = min((canvas.WIDTH_INCHES - 2 * _MARGIN_INCHES - list_inches) / width, _MAX_PLANE_INCHES)
        height_inches = self._scale * height + 2 * _LABEL_INCHES
        self._origin = np.array([_MARGIN_INCHES, height_inches - _LABEL_INCHES])
        self._origin += self._scale * np.array([0.5, -0.5]) * (_VIEW[1] + _VIEW[2])
        self._at = -_LAYER_GAP
        self._named: list[tuple[str, Bbox]] = []  # planes and bars
        self._taken: list[Bbox] = []  # by these, and by words
        self._figure = canvas.figure(height_inches, fitted=False)
        self._axes: Axes = self._figure.add_axes((0, 0, 1, 1), xlim=(0, canvas.WIDTH_INCHES), ylim=(0, height_inches))
        self._axes.axis("off")
        self._axes.autoscale(False)

    def add_planes(self, name: str, planes: Sequence[Array | Images], side: float) -> None:
        """Pictures `[h, w]` (as colours from their smallest number to their largest) or `[h, w, 3]`."""
        self._at += _LAYER_GAP
        colours = matplotlib.colormaps[canvas.MAP].with_extremes(bad=(0, 0, 0, 0))
        rows, columns = planes[0].shape[:2]
        width, height = side * min(1.0, columns / rows), side * min(1.0, rows / columns)
        low, high = float(np.nanmin(planes)), float(np.nanmax(planes))
        corners = []
        for number, plane in enumerate(planes):
            self._at += _PLANE_STEP if number else 0
            corner = self._point(-width / 2, -height / 2)
            across, up = self._scale * width * _VIEW[1], self._scale * height * _VIEW[2]
            self._axes.imshow(
                plane,
                cmap=colours,
                vmin=low,
                vmax=high,
                extent=(0, 1, 0, 1),
                transform=Affine2D.from_values(*across, *up, *corner) + self._axes.transData,
                interpolation="none",
                aspect="auto",
            )
            corners += [corner, corner + across + up, corner + across, corner + up]
        self._note(name, corners)

    def add_bars(self, probabilities: Array, names: Sequence[str]) -> None:
        """The most probable classes, in the order of the classes: a row each, of its name, a bar and its share."""
        self._at += _LAYER_GAP
        shown = np.sort(np.argsort(-probabilities, kind="stable")[:MAX_BARS])
        _, middle = self._point(0, 0)
        left = max(box.x1 for box in self._taken) + _MARGIN_INCHES
        top = middle + _ROW_INCHES * len(shown) / 2
        rows = [top - _ROW_INCHES * (place + 0.5) for place in range(len(shown))]
        texts = [
            self._axes.text(left, row, names[label], fontsize=9, va="center")
            for label, row in zip(shown, rows, strict=True)
        ]
        bars = max(self._box(text).x1 for text in texts) + 0.08
        ends = []
        for label, row in zip(shown, rows, strict=True):
            share, height = float(probabilities[label]), 0.68 * _ROW_INCHES
            colour = VERMILION if label == np.argmax(probabilities) else BLUE
            self._axes.add_patch(
                Rectangle((bars, row - height / 2), max(share * _BAR_INCHES, 0.01), height, color=colour, linewidth=0.3)
            )
            ends.append(
                self._axes.text(bars + share * _BAR_INCHES + 0.06, row, f"{share:.0%}", fontsize=9, va="center")
            )
        right = max(self._box(text).x1 for text in ends)
        self._note(say("probabilities"), [np.array([left, top]), np.array([right, top - _ROW_INCHES * len(shown)])])

    def finish(self) -> Figure:
        """Writes each name below its planes, and lower with a line where something is in the way; cuts off what is
        empty."""
        for name, box in self._named:
            middle, low = (box.x0 + box.x1) / 2, box.y0 - 0.06
            text = self._axes.text(middle, low, name, fontsize=8, ha="center", va="top", linespacing=1.15)
            lowered = self._move_clear(text, -_LABEL_STEP_INCHES)
            if lowered < low:
                self._axes.plot([middle, middle], [low, lowered + 0.02], color=INK, alpha=0.35, linewidth=0.8)
        drawn = Bbox.union(self._taken)
        self._figure.set_size_inches(drawn.width, drawn.height)
        self._axes.set(xlim=drawn.intervalx, ylim=drawn.intervaly)
        return self._figure

    def _point(self, across: float, up: float) -> NDArray[np.float64]:
        """A point at the present place on the axis, in inches."""
        point: NDArray[np.float64] = self._origin + self._scale * np.array([self._at, across, up]) @ _VIEW
        return point

    def _note(self, name: str, corners: Sequence[NDArray[np.float64]]) -> None:
        box = Bbox([np.min(corners, axis=0), np.max(corners, axis=0)])
        self._named.append((name, box))
        self._taken.append(box)

    def _box(self, text: Text) -> Bbox:
        """In inches."""
        return Bbox(text.get_window_extent().get_points() / self._figure.dpi)

    def _move_clear(self, text: Text, step_inches: float) -> float:
        """Moves the text up, or down where `step_inches` is negative, until nothing is in the way. Where it is then."""
        while True:
            box = self._box(text)
            if not box.padded(_LABEL_GAP_INCHES).count_overlaps(self._taken):
                self._taken.append(box)
                return float(text.get_position()[1])
            text.set_y(text.get_position()[1] + step_inches)


def _planes(layer: Layer) -> list[Array]:
    """Some of the layer's maps; the numbers of one without maps as a square."""
    if not layer.is_vector:
        return list(layer.maps[:_MAX_PLANES])
    numbers = layer.maps[0][~np.isnan(layer.maps[0])]
    return [lay_in_rows(numbers, int(np.ceil(np.sqrt(len(numbers)))))]


def _name(layer: Layer) -> str:
    size = f"{layer.total:,}" if layer.is_vector else f"{layer.total:,} x {layer.size[0]}x{layer.size[1]}"
    return f"{canvas.shorten(layer.kind, 18)}\n{size}"
