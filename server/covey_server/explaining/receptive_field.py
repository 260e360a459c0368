"""The receptive field of a unit: the part of the image that its value depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covey_server.explaining.layers import Layer
from covey_server.explaining.windows import axes

Interval = tuple[int, int]  # first and last place
Box = tuple[Interval, Interval]

# In these layers a place of the output reads the same place of each input, unless an input has another size.
_PLACE_BY_PLACE = {"activation", "normalization", "addition", "multiplication", "concatenation", "scaling", "softmax"}
_ACROSS_PLACES = {"InstanceNormalization", "GroupNormalization", "LpNormalization"}


def find(
    layers: Sequence[Layer], shapes: Mapping[int, tuple[int, ...]], layer: int, row: int, column: int
) -> tuple[int, int, int, int]:
    """Top, left, bottom and right (both exclusive) of the part of the prepared image that a layer's place depends
    on."""
    height, width = shapes[0][-2:]
    boxes: dict[int, Box] = {layer: ((row, row), (column, column))}
    for index in range(layer, 0, -1):
        if (box := boxes.pop(index, None)) is None:
            continue
        for source in layers[index].inputs:
            visible = _clip(_read(layers[index], shapes[source], shapes[index], box), shapes[source])
            boxes[source] = _union(boxes[source], visible) if source in boxes else visible
    rows, columns = boxes.get(0, ((0, height - 1), (0, width - 1)))
    if len(shapes[layer]) < 3:
        rows, columns = (0, height - 1), (0, width - 1)
    return rows[0], columns[0], rows[1] + 1, columns[1] + 1


def _read(layer: Layer, source: tuple[int, ...], shape: tuple[int, ...], box: Box) -> Box:
    if windows := axes(layer, source, shape):
        (rows, columns), (tall, wide) = box, windows
        return (
            (tall.places(rows[0])[0], tall.places(rows[1])[-1]),
            (wide.places(columns[0])[0], wide.places(columns[1])[-1]),
        )
    same = len(source) == len(shape) == 3 and source[1:] == shape[1:]
    if same and layer.kind in _PLACE_BY_PLACE and layer.op not in _ACROSS_PLACES:
        return box
    return _whole(source)


def _whole(shape: tuple[int, ...]) -> Box:
    if len(shape) < 3:
        return (0, 0), (0, 0)
    return (0, shape[1] - 1), (0, shape[2] - 1)


def _clip(box: Box, shape: tuple[int, ...]) -> Box:
    """The part of a box that lies inside the image: padding is not part of it."""
    if len(shape) < 3:
        return (0, 0), (0, 0)
    rows, columns = box
    return _within(rows, shape[1]), _within(columns, shape[2])


def _within(places: Interval, size: int) -> Interval:
    return min(max(places[0], 0), size - 1), min(max(places[1], 0), size - 1)


def _union(one: Box, other: Box) -> Box:
    return _both(one[0], other[0]), _both(one[1], other[1])


def _both(one: Interval, other: Interval) -> Interval:
    return min(one[0], other[0]), max(one[1], other[1])
