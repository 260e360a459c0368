"""What one unit computes: the numbers that it reads, its weights, the sum of their products, and what follows from
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_server.errors import InvalidRequest
from covey_server.explaining import functions, receptive_field
from covey_server.explaining.inside import Inside
from covey_server.explaining.layers import Layer
from covey_server.explaining.windows import Axis, axes

MAX_TERMS = 4096  # that are listed; of more, the strongest
_MAX_STEP_INPUTS = 256
_FOLLOWED = ("activation", "normalization", "scaling", "max_pooling", "average_pooling", "softmax")
_LAST = ("max_pooling", "average_pooling", "softmax")  # which read more than this unit


@dataclass(frozen=True)
class Place:
    """One output of a layer. In a layer without rows and columns, `channel` is its index, and `y` the token's."""

    layer: int
    channel: int
    y: int
    x: int


@dataclass(frozen=True)
class Step:
    """A layer that follows a unit, at the place that reads it."""

    place: Place
    inputs: NDArray[np.float32]  # `[H, W]`
    value: float


@dataclass
class Unit:
    """The arithmetic of one output: `operation` of `inputs` (and of `weights`), `[C, H, W]` each."""

    place: Place
    operation: str
    inputs: NDArray[np.float32]
    rows: list[int]
    columns: list[int]
    engine_value: float
    receptive_field: tuple[int, int, int, int]
    result: float = 0.0
    first_channel: int = 0
    weights: NDArray[np.float32] | None = None
    bias: float = 0.0
    next: list[Step] = field(default_factory=list)

    @property
    def products(self) -> NDArray[np.float64]:
        """`[C, H, W]`: the inputs, times the weights where there are some."""
        inputs = self.inputs.astype(np.float64)
        return inputs if self.weights is None else inputs * self.weights


def can_explain(inside: Inside, layer: Layer) -> bool:
    """Whether single units of a layer can be explained."""
    if layer.kind == "activation":
        return True
    if layer.kind == "fully_connected":
        return len(layer.weight_shape) == 2 and not layer.node.attributes.get("transA")
    if layer.kind in ("convolution", "max_pooling", "average_pooling") and layer.inputs:
        return axes(layer, inside.shapes[layer.inputs[0]], inside.shapes[layer.index]) is not None
    return False


def explain(inside: Inside, pixels: NDArray[np.uint8], place: Place) -> Unit:
    """The arithmetic of one unit for an image `[1, H, W, C] uint8`. Raises InvalidRequest for a place that does not
    exist, EngineFailed."""
    layer = _require(inside, place)
    path = _path(inside.layers, layer)
    names = [layer.output, layer.data, layer.weight, layer.bias]
    names += [name for follower in path for name in (follower.data, follower.output)]
    tensors = inside.run(pixels, [name for name in names if name])
    answer = inside.answer(layer, tensors[layer.output])
    visible = receptive_field.find(inside.layers, inside.shapes, layer.index, place.y, place.x)
    unit = Unit(place, "", np.zeros((0, 0, 0), np.float32), [], [], _value(answer, place), visible)
    source = inside.planes(tensors[layer.data], layer.layout)
    if layer.kind == "fully_connected":
        _sum_row(unit, layer, source, tensors)
    elif layer.kind == "activation":
        value = _value(source, place)
        unit.operation, unit.inputs = "function", np.full((1, 1, 1), value, np.float32)
        unit.rows, unit.columns, unit.first_channel = [place.y], [place.x], place.channel
        result = functions.of(layer.op, layer.node.attributes, value)
        unit.result = unit.engine_value if result is None else result
    else:
        windows = axes(layer, source.shape, answer.shape)
        assert windows is not None
        if layer.kind == "convolution":
            _sum_window(unit, layer, source, windows, tensors)
        else:
            _pool(unit, layer, source, windows)
    _follow(unit, inside, path, tensors)
    return unit


def _require(inside: Inside, place: Place) -> Layer:
    if not 0 <= place.layer < len(inside.layers):
        raise InvalidRequest(
            f"layer is {place.layer}; expected 0 to {len(inside.layers) - 1}, as the layers are listed"
        )
    layer = inside.layers[place.layer]
    if not can_explain(inside, layer):
        raise InvalidRequest(
            f"layer {place.layer} ({layer.name}, {layer.kind}) has no units that are explained; expected one whose "
            f"has_units is set"
        )
    shape = inside.shapes[place.layer]
    channels, height, width = _sizes(shape)
    for name, value, size in (("channel", place.channel, channels), ("y", place.y, height), ("x", place.x, width)):
        if not 0 <= value < size:
            raise InvalidRequest(
                f"{name} is {value}; expected 0 to {size - 1} in layer {place.layer} ({layer.name}) of the shape "
                f"{' x '.join(map(str, shape))}"
            )
    return layer


def _sizes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The sizes of channels, rows and columns; of tokens `[T, F]`: F, T and 1."""
    match shape:
        case (channels, height, width):
            return channels, height, width
        case (tokens, features):
            return features, tokens, 1
        case (features,):
            return features, 1, 1
    raise InvalidRequest(f"a layer of {len(shape)} axes has no units that are explained")


def _value(answer: NDArray[np.float32], place: Place) -> float:
    match answer.ndim:
        case 3:
            return float(answer[place.channel, place.y, place.x])
        case 2:
            return float(answer[place.y, place.channel])
    return float(answer.ravel()[place.channel])


def _sum_window(
    unit: Unit, layer: Layer, source: NDArray[np.float32], windows: tuple[Axis, Axis], tensors: dict[str, NDArray[Any]]
) -> None:
    weights = tensors[layer.weight][unit.place.channel].astype(np.float32)
    group = unit.place.channel // (layer.weight_shape[0] // int(layer.node.attributes.get("group") or 1))
    unit.first_channel = group * len(weights)
    unit.rows, unit.columns = windows[0].places(unit.place.y), windows[1].places(unit.place.x)
    unit.inputs = _cut(source[unit.first_channel : unit.first_channel + len(weights)], unit.rows, unit.columns)
    unit.operation, unit.weights = "sum", weights
    unit.bias = float(tensors[layer.bias].ravel()[unit.place.channel]) if layer.bias else 0.0
    unit.result = float(unit.products.sum()) + unit.bias


def _sum_row(unit: Unit, layer: Layer, source: NDArray[np.float32], tensors: dict[str, NDArray[Any]]) -> None:
    attributes, place = layer.node.attributes, unit.place
    matrix = tensors[layer.weight].astype(np.float32)
    weights = matrix[place.channel] if attributes.get("transB") else matrix[:, place.channel]
    inputs = source[place.y] if source.ndim == 2 else source.ravel()
    unit.inputs, unit.rows, unit.columns = inputs.reshape(-1, 1, 1), [0], [0]
    unit.operation, unit.weights = "sum", (weights * np.float32(attributes.get("alpha", 1.0))).reshape(-1, 1, 1)
    if layer.bias:
        bias = np.broadcast_to(tensors[layer.bias].ravel(), (len(matrix if attributes.get("transB") else matrix.T),))
        unit.bias = float(bias[place.channel]) * float(attributes.get("beta", 1.0))
    unit.result = float(unit.products.sum()) + unit.bias


def _pool(unit: Unit, layer: Layer, source: NDArray[np.float32], windows: tuple[Axis, Axis]) -> None:
    channel = unit.first_channel = unit.place.channel
    unit.rows, unit.columns = windows[0].places(unit.place.y), windows[1].places(unit.place.x)
    unit.inputs = _cut(source[channel : channel + 1], unit.rows, unit.columns)
    height, width = source.shape[1:]
    inner = source[channel][np.ix_(_within(unit.rows, height), _within(unit.columns, width))].astype(np.float64)
    if layer.kind == "max_pooling":
        unit.operation, unit.result = "max", float(inner.max())
        return
    attributes = layer.node.attributes
    count = inner.size
    if attributes.get("count_include_pad"):
        after = (attributes.get("pads") or [0, 0, 0, 0])[2:]
        rows = [row for row in unit.rows if row < height + after[0]]
        count = len(rows) * len([column for column in unit.columns if column < width + after[1]])
    unit.operation, unit.result = "mean", float(inner.sum()) / count


def _cut(source: NDArray[np.float32], rows: list[int], columns: list[int]) -> NDArray[np.float32]:
    """The values `[C, H, W]` at these rows and columns; 0 outside."""
    window = np.zeros((len(source), len(rows), len(columns)), np.float32)
    down = [index for index, row in enumerate(rows) if 0 <= row < source.shape[1]]
    right = [index for index, column in enumerate(columns) if 0 <= column < source.shape[2]]
    inner = source[:, [rows[index] for index in down]][:, :, [columns[index] for index in right]]
    window[np.ix_(range(len(source)), down, right)] = inner
    return window


def _within(places: list[int], size: int) -> list[int]:
    return [place for place in places if 0 <= place < size]


def _path(layers: Sequence[Layer], layer: Layer) -> list[Layer]:
    """The layers that follow a layer, each of which reads only the one before, up to a pooling or softmax."""
    path: list[Layer] = []
    while True:
        readers = [reader for reader in layers if layer.index in reader.inputs]
        if len(readers) != 1 or readers[0].kind not in _FOLLOWED or len(readers[0].inputs) != 1:
            return path
        layer = readers[0]
        if layer.kind == "normalization" and layer.op != "BatchNormalization":
            return path
        path.append(layer)
        if layer.kind in _LAST:
            return path


def _follow(unit: Unit, inside: Inside, path: list[Layer], tensors: dict[str, NDArray[Any]]) -> None:
    """Adds the values of a unit in the layers that follow it."""
    place = unit.place
    for layer in path:
        source = inside.planes(tensors[layer.data], layer.layout)
        answer = inside.answer(layer, tensors[layer.output])
        if layer.kind in ("max_pooling", "average_pooling"):
            windows = axes(layer, source.shape, answer.shape)
            if windows is None:
                return
            y, x = (_reader(axis, position) for axis, position in zip(windows, (place.y, place.x), strict=True))
            if answer.ndim == 3 and (y >= answer.shape[1] or x >= answer.shape[2]):
                return
            rows, columns = windows[0].places(y), windows[1].places(x)
            if place.y not in rows or place.x not in columns:  # strides may leave places out
                return
            inner = np.ix_(_within(rows, source.shape[1]), _within(columns, source.shape[2]))
            inputs = source[place.channel][inner]
            place = Place(layer.index, place.channel, y, x)
        elif layer.kind == "softmax":
            if answer.ndim != 1 or source.size != answer.size:  # of attention, say
                return
            inputs = source.reshape(1, -1)
            place = Place(layer.index, place.channel, 0, 0)
        else:
            inputs = np.full((1, 1), _value(source, place), np.float32)
            place = Place(layer.index, place.channel, place.y, place.x)
        limit = MAX_TERMS if layer.kind == "softmax" else _MAX_STEP_INPUTS
        shown_inputs = inputs if inputs.size <= limit else np.zeros((0, 0), np.float32)
        unit.next.append(Step(place, shown_inputs, _value(answer, place)))


def _reader(axis: Axis, position: int) -> int:
    """The last place of the output whose window has begun by this position."""
    return (position + axis.before) // axis.stride
