"""Heat maps of the pixels that speak for a class: the exact class activation map where the network allows it, else
occlusion.

Class activation map: Zhou and others, Learning deep features for discriminative localization (2015). Occlusion: Zeiler
and Fergus, Visualizing and understanding convolutional networks (2013).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covey_server.explaining.inside import Inside
from covey_server.explaining.layers import Layer

METHODS = ("class_activation", "occlusion")
CELLS = 14  # along the longer side of an image
_COVERED = 2  # cells along each side of what is covered at once
MAX_BATCH = 64  # covered images in one run
_TOLERANCE = 1e-3  # of the score, by which a class activation map may differ from it
_MIN_PROBABILITY = 1e-30  # a probability that is 0 in float32
Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True)
class HeatMap:
    """The map of one class, `[H, W] float32`, to be drawn over the whole image; above 0: speaks for the class."""

    method: str
    values: NDArray[np.float32]
    score: float
    bias: float
    images: int  # that were run for it
    detail: str
    exact: bool = False


@dataclass(frozen=True)
class Head:
    """The end of a network that allows a class activation map: maps, their means, and a weight of each mean for each
    class; `scores` gives the classes' scores. Without a layer of weights there is one map for each class."""

    maps: Layer
    scores: Layer
    weights: Layer | None


def find_head(inside: Inside, classes: int) -> Head | None:
    """The head that allows a class activation map; None if the network ends in another way."""
    layer: Layer | None = inside.layers[-1]
    while layer is not None and layer.kind in ("softmax", "activation", "flatten", "scaling"):
        layer = _only_source(inside.layers, layer)
    scores, weights = layer, None
    if layer is not None and layer.kind in ("fully_connected", "convolution"):
        if inside.shapes[layer.index][1:] not in ((), (1, 1)):
            return None
        weights = layer
        layer = _only_source(inside.layers, layer)
    while layer is not None and layer.kind == "flatten":
        layer = _only_source(inside.layers, layer)
    if scores is None or layer is None or layer.kind != "average_pooling" or inside.shapes[scores.index][0] != classes:
        return None
    maps = _only_source(inside.layers, layer)
    if maps is None or len(inside.shapes[maps.index]) != 3 or inside.shapes[layer.index][1:] not in ((), (1, 1)):
        return None
    return Head(maps, scores, weights)


def class_activation(inside: Inside, head: Head, pixels: NDArray[np.uint8], class_index: int) -> HeatMap | None:
    """The class's score as a sum over places, for one image `[1, H, W, C] uint8`; None if the sum does not give the
    score, so that the network differs from what was assumed. Raises EngineFailed."""
    names = [head.maps.output, head.scores.output]
    if head.weights is not None:
        names += [name for name in (head.weights.weight, head.weights.bias) if name]
    outputs = inside.run(pixels, names)
    maps = inside.answer(head.maps, outputs[head.maps.output])
    score = float(outputs[head.scores.output].ravel()[class_index])
    bias = 0.0
    if head.weights is None:
        values = maps[class_index]
    else:
        matrix = outputs[head.weights.weight].astype(np.float32)
        is_rows = head.weights.kind == "convolution" or head.weights.node.attributes.get("transB")
        row = (matrix[class_index] if is_rows else matrix[:, class_index]).ravel()
        if len(row) != len(maps):
            return None
        values = np.tensordot(row, maps, 1)
        if head.weights.bias:
            bias = float(outputs[head.weights.bias].ravel()[class_index])
    if abs(float(values.mean(dtype=np.float64)) + bias - score) > _TOLERANCE * (1 + abs(score)):
        return None
    detail = (
        f"the network's own computation: {len(maps)} maps of {head.maps.name}, each times its weight for the class, "
        f"added up"
    )
    return HeatMap("class_activation", values.astype(np.float32), score, bias, 1, detail, exact=True)


def occlusion(
    run: Run, pixels: NDArray[np.uint8], class_index: int, fill: Sequence[float], batch: int = MAX_BATCH
) -> HeatMap:
    """By how much the log odds of a class fall while a part of the image `[1, H, W, C] uint8` has the colour `fill`,
    one number for each channel. `run` gives probabilities of at most `batch` images; an exception of it ends the
    work."""
    height, width = pixels.shape[1:3]
    cell = max(1.0, max(height, width) / CELLS)
    rows, columns = _edges(height, cell), _edges(width, cell)
    tops, lefts = _spans(rows), _spans(columns)
    covered = [(down, right) for down in tops for right in lefts]
    colour = np.clip(np.rint(fill), 0, 255).astype(np.uint8)
    scores = [_log_odds(run(pixels), class_index)]
    for start in range(0, len(covered), batch):  # as little as can be between runs: other threads wait for this one
        images = np.repeat(pixels, len(covered[start : start + batch]), axis=0)
        for image, (down, right) in zip(images, covered[start : start + batch], strict=True):
            image[down, right] = colour
        scores.append(_log_odds(run(images), class_index))
    before, *after = np.concatenate(scores)
    drops = (before - np.array(after)).reshape(len(tops), len(lefts))
    # Each cell is covered by as many places as there are cells in one: the mean of their drops.
    tall, wide = len(tops) - _COVERED + 1, len(lefts) - _COVERED + 1
    shifted = [drops[y : y + tall, x : x + wide] for y in range(_COVERED) for x in range(_COVERED)]
    values: NDArray[np.float32] = np.stack(shifted).mean(axis=0).astype(np.float32)
    size = f"{rows[min(_COVERED, len(rows) - 1)]} x {columns[min(_COVERED, len(columns) - 1)]}"
    detail = (
        f"{len(covered)} times another part of up to {size} pixels was covered: by how much the log odds of the class "
        f"fall, on average over all that cover a place"
    )
    return HeatMap("occlusion", values, float(before), 0.0, len(covered) + 1, detail)


def _spans(edges: Sequence[int]) -> list[slice]:
    """All parts of _COVERED cells, including those that lie half outside."""
    last = len(edges) - 1
    return [slice(edges[max(0, first)], edges[min(last, first + _COVERED)]) for first in range(1 - _COVERED, last)]


def _edges(size: int, cell: float) -> list[int]:
    count = max(1, round(size / cell))
    return [index * size // count for index in range(count + 1)]


def _log_odds(probabilities: NDArray[np.float32], class_index: int) -> NDArray[np.float64]:
    """The log odds of a class against all others. The others are added up: 1 - p would be 0 for most answers."""
    values = probabilities.astype(np.float64)
    of_class = values[:, class_index]
    of_others = np.delete(values, class_index, axis=1).sum(axis=1)
    odds: NDArray[np.float64] = np.log(np.maximum(of_class, _MIN_PROBABILITY)) - np.log(
        np.maximum(of_others, _MIN_PROBABILITY)
    )
    return odds


def _only_source(layers: Sequence[Layer], layer: Layer) -> Layer | None:
    return layers[layer.inputs[0]] if len(layer.inputs) == 1 else None
