"""The layers of an ONNX graph: size, parameters, cost and view of the image, and the formulas behind them.

The layers themselves are those that the server's "Look inside" shows: both read the file by `covey_server.explaining`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from covey_export.errors import ConversionFailed
from covey_server.explaining import layers as reading
from covey_server.explaining import onnx_graph
from covey_server.explaining.describing import describe
from covey_server.explaining.layers import Layer
from covey_server.explaining.windows import Axis, axes

_OF_WHOLE_MAPS = ("InstanceNormalization", "GroupNormalization")
Shape = tuple[int, ...]  # of one image's tensor, channels first: [C, H, W], [F], ...


@dataclass(frozen=True)
class View:
    """The part of the image that one number of a layer depends on: `size` pixels high and wide; that of its neighbour
    is `stride` pixels further."""

    size: tuple[int, int]
    stride: tuple[int, int]


@dataclass(frozen=True)
class Step:
    """One layer. `multiply_adds` are those of one image; `dense_parameters` those of a fully connected layer between
    the same tensors, 0 where that is no comparison; `view` is None where each number sees the whole image."""

    name: str
    kind: str  # one of covey_server.explaining.layers.KINDS
    description: str
    output: Shape
    size_formula: str
    parameters: int
    parameters_formula: str
    multiply_adds: int
    dense_parameters: int
    view: View | None
    inputs: tuple[int, ...]  # places of the steps that it reads
    kernel: tuple[int, int] = (0, 0)  # of a convolution without groups and dilation
    stride: tuple[int, int] = (1, 1)

    @property
    def numbers(self) -> int:
        """How many numbers the layer gives for one image."""
        return math.prod(self.output)


def read(model: bytes) -> list[Step]:
    """The steps of a model that Covey can serve, the prepared image first. Raises ConversionFailed."""
    graph = onnx_graph.read(model)
    layers = reading.find(graph)
    shapes = _shapes(model, layers)
    steps: list[Step] = []
    for layer in layers:
        steps.append(_step(layer, shapes, steps))
    return steps


def _shapes(model: bytes, layers: Sequence[Layer]) -> dict[int, Shape]:
    """The shape of each layer's output for one image, by the layer's index. Raises ConversionFailed."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(model), data_prop=True).graph
    inferred_shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim][1:]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    shapes: dict[int, Shape] = {}
    channels_last: set[int] = set()  # layers whose maps lie channels last, as those of a linear layer on maps do
    for layer in layers:
        shape = tuple(inferred_shapes.get(layer.output, (0,)))
        if 0 in shape:
            raise ConversionFailed(
                f"the size of layer {layer.name} ({layer.op}) depends on the values of the image, or the file does "
                f"not say it; networks whose layers have fixed sizes can be shown"
            )
        is_image = not layer.index and layer.layout != "NCHW"
        keeps = not layer.layout and bool(layer.inputs) and layer.inputs[0] in channels_last
        is_linear = layer.kind == "fully_connected"
        if len(shape) == 3 and (layer.layout == "NHWC" or is_image or keeps or is_linear):
            channels_last.add(layer.index)
            shape = (shape[2], *shape[:2])
        shapes[layer.index] = shape
    return shapes


def _step(layer: Layer, shapes: Mapping[int, Shape], earlier: Sequence[Step]) -> Step:
    output = shapes[layer.index]
    source = shapes[layer.inputs[0]] if layer.inputs else ()
    windows = axes(layer, source, output)
    multiply_adds = dense = 0
    if layer.weight_shape and layer.kind in ("convolution", "fully_connected"):
        # Each weight is used once for each place of the output, of a transposed convolution's input: maps have height
        # times width, a row of tokens its length, a row of numbers one.
        places_of = source if layer.op == "ConvTranspose" else output
        places = math.prod(places_of[1:]) if len(places_of) == 3 else math.prod(places_of[:-1])
        multiply_adds = math.prod(layer.weight_shape) * places
        if layer.kind == "convolution":
            has_bias = layer.parameters > math.prod(layer.weight_shape)
            dense = (math.prod(source) + has_bias) * math.prod(output)
    is_plain = layer.kind == "convolution" and windows is not None and layer.weight_shape[1] == source[0]
    if windows is not None and any(axis.dilation > 1 for axis in windows):
        is_plain = False
    return Step(
        name=layer.name,
        kind=layer.kind,
        description=describe(layer, shapes),
        output=output,
        size_formula=_size_formula(layer, source, output, windows),
        parameters=layer.parameters,
        parameters_formula=_parameters_formula(layer, output),
        multiply_adds=multiply_adds,
        dense_parameters=dense,
        view=_view(layer, output, windows, [earlier[index].view for index in layer.inputs]),
        inputs=layer.inputs,
        kernel=(windows[0].size, windows[1].size) if is_plain and windows else (0, 0),
        stride=(windows[0].stride, windows[1].stride) if windows else (1, 1),
    )


def _size_formula(layer: Layer, source: Shape, output: Shape, windows: tuple[Axis, Axis] | None) -> str:
    if layer.kind == "flatten":
        return f"{' * '.join(map(str, source))} = {output[-1]:,}"
    if windows is None or len(output) != 3:
        return ""
    after = _padding_after(layer)
    formulas = [_along_one_axis(source[1 + axis], windows[axis], after[axis], output[1 + axis]) for axis in (0, 1)]
    return formulas[0] if formulas[0] == formulas[1] else f"height: {formulas[0]}; width: {formulas[1]}"


def _padding_after(layer: Layer) -> tuple[int | None, int | None]:
    """The padding below and to the right of the image; None where it follows from the sizes (auto_pad)."""
    attributes = layer.node.attributes
    if str(attributes.get("auto_pad") or "NOTSET").startswith("SAME"):
        return None, None
    pads = attributes.get("pads") or [0, 0, 0, 0]
    return pads[2], pads[3]


def _along_one_axis(size: int, window: Axis, after: int | None, result: int) -> str:
    """floor((size + padding before and after - kernel) / stride) + 1, with numbers."""
    if after is None:
        return f"ceil({size} / {window.stride}) = {result}"
    kernel = f"{window.dilation} * ({window.size} - 1) - 1" if window.dilation > 1 else f"{window.size}"
    covered = window.dilation * (window.size - 1) + 1
    padding = f" + {window.before} + {after}" if window.before or after else ""
    free = size + window.before + after - covered
    steps = f"({size}{padding} - {kernel}) / {window.stride}"
    if free % window.stride:
        steps = f"floor({steps})" if free // window.stride + 1 == result else f"ceil({steps})"
    return f"{steps} + 1 = {result}"


def _parameters_formula(layer: Layer, output: Shape) -> str:
    if not layer.weight_shape or layer.kind not in ("convolution", "fully_connected"):
        return ""
    weights = math.prod(layer.weight_shape)
    outputs = output[0] if len(output) == 3 else output[-1]
    inputs = weights // outputs // math.prod(layer.weight_shape[2:])  # that each output reads
    factors = [*layer.weight_shape[2:], inputs]
    product = " * ".join(map(str, factors))
    return f"({product} + 1) * {outputs}" if layer.parameters > weights else f"{product} * {outputs}"


def _view(
    layer: Layer, output: Shape, windows: tuple[Axis, Axis] | None, input_views: Sequence[View | None]
) -> View | None:
    """The view of a layer: those of its inputs, and the reach of its window more."""
    if not input_views:
        return View((1, 1), (1, 1)) if layer.index == 0 else None
    if None in input_views or layer.kind == "attention" or layer.op in _OF_WHOLE_MAPS:
        return None
    if layer.kind in ("fully_connected", "softmax") and len(output) == 1:
        return None  # on maps and tokens it works place by place
    views = [view for view in input_views if view is not None]
    size = (max(view.size[0] for view in views), max(view.size[1] for view in views))
    stride = (max(view.stride[0] for view in views), max(view.stride[1] for view in views))
    if windows is None:
        return View(size, stride) if layer.kind not in ("other", "convolution") else None
    if layer.op not in ("Conv", "MaxPool", "AveragePool"):
        return None  # of whole maps
    down, right = windows
    reach = [(axis.size - 1) * axis.dilation * step for axis, step in zip(windows, stride, strict=True)]
    return View((size[0] + reach[0], size[1] + reach[1]), (stride[0] * down.stride, stride[1] * right.stride))
