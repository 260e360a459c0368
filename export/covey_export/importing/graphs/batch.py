"""Makes the batch axis dynamic where a network was exported for a fixed number of images: constants in Reshape, Expand
and Concat that hold that number are rewritten.

Follows where in each value the images lie, by the shapes that ONNX infers for the fixed number. Knows the operators of
classifiers; whatever it does not know makes it give up, and what it makes is compared with the original (trial.py)
before it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from covey_export.importing.graphs import constants
from covey_export.importing.graphs.constants import Shape
from covey_export.importing.graphs.signature import Signature

_COUNT = "covey/batch"
_MIN_IR = 8
_ELEMENTWISE = frozenset(
    {
        *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Where", "PRelu"),
        *("Equal", "Greater", "Less", "And", "Or"),
    }
)
_REDUCES = ("Reduce", "Arg")


class _GaveUp(Exception):
    """It is not known any more on which axis the images lie."""


@dataclass(frozen=True)
class _Place:
    """Where the images lie in a tensor: on `axis`, `inner` elements of it for each image."""

    axis: int
    inner: int = 1


def make_dynamic(model: onnx.ModelProto, signature: Signature) -> onnx.ModelProto | None:
    """The model for any number of images; None where that cannot be found. `signature.batch` is the fixed number (None:
    1). The given model is left as it is."""
    batch = signature.batch or 1
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.ir_version = max(_MIN_IR, changed.ir_version)  # before 4 each constant is an input, too
    graph = changed.graph
    for value in graph.input:
        if value.name == signature.input_name:
            value.type.tensor_type.shape.ClearField("dim")
            for length in signature.shape(batch):
                value.type.tensor_type.shape.dim.add(dim_value=length)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    try:
        constants.fold(graph)
        shapes = constants.shapes(changed)
        _Rewriter(graph, signature, batch, shapes).rewrite()
    except (_GaveUp, onnx.shape_inference.InferenceError, KeyError, IndexError, ValueError):
        return None
    return changed


class _Rewriter:
    def __init__(self, graph: onnx.GraphProto, signature: Signature, batch: int, shapes: dict[str, Shape]) -> None:
        self._graph = graph
        self._input = signature.input_name
        self._batch = batch
        self._shapes = shapes
        self._places = {signature.input_name: _Place(0)}
        self._moving = {signature.input_name}  # values that depend on the images, their shapes included
        self._constants: dict[str, NDArray[np.generic]] = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if math.prod(tensor.dims) * 8 <= constants.MAX_FOLDED_BYTES
        }
        self._nodes: list[onnx.NodeProto] = []
        self._made = 0

    def rewrite(self) -> None:
        for node in self._graph.node:
            if any(name in self._places for name in node.input):
                self._moving.update(node.output)
                self._follow(node)
            elif any(name in self._moving for name in node.input):
                self._moving.update(node.output)  # of shapes: dynamic as it is
            self._nodes.append(node)
        nodes = [constants.copied(node) for node in (*self._head(), *self._nodes)]
        del self._graph.node[:]
        self._graph.node.extend(nodes)

    def _follow(self, node: onnx.NodeProto) -> None:
        if any(
            attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for attribute in node.attribute
        ):
            raise _GaveUp
        source = next(name for name in node.input if name in self._places)
        place, shape = self._places[source], self._shapes[source]
        special: dict[str, Callable[[onnx.NodeProto, str, _Place, Shape], _Place | None]] = {
            "Reshape": self._reshape,
            "Flatten": self._flatten,
            "Transpose": self._transpose,
            "Expand": self._expand,
            "Concat": self._concat,
            "Squeeze": self._squeeze,
            "Unsqueeze": self._unsqueeze,
            "Gather": self._gather,
            "Shape": lambda *_: None,
            "Size": lambda *_: None,
        }
        if node.op_type in special:
            new_place = special[node.op_type](node, source, place, shape)
        elif node.op_type.startswith(_REDUCES):
            new_place = self._reduce(node, source, place, shape)
        elif node.op_type in _ELEMENTWISE or node.op_type == "MatMul":
            new_place = self._broadcast(node, place, shape)
        else:
            new_place = self._same(node, place, shape)
        for name in node.output if new_place is not None else ():
            self._places[name] = new_place  # type: ignore[assignment]

    def _same(self, node: onnx.NodeProto, place: _Place, shape: Shape) -> _Place:
        """The axis stays where it is, as in convolutions, pooling and all that works on each element."""
        output_shape = self._shapes[node.output[0]]
        if len(output_shape) <= place.axis or output_shape[place.axis] != shape[place.axis]:
            raise _GaveUp
        return place

    def _broadcast(self, node: onnx.NodeProto, place: _Place, shape: Shape) -> _Place:
        """The place after broadcasting, which counts axes from the last one."""
        output_shape = self._shapes[node.output[0]]
        axis = place.axis + len(output_shape) - len(shape)
        if output_shape[axis] != shape[place.axis]:
            raise _GaveUp
        from_end = len(output_shape) - axis
        is_of_rows = node.op_type == "MatMul" and from_end <= 2  # the other matrix has no images
        for index, name in enumerate(() if is_of_rows else node.input):
            if name in self._moving or not name:
                continue
            other_shape = self._shapes[name]
            if self._batch > 1 and len(other_shape) >= from_end and other_shape[-from_end] == shape[place.axis] > 1:
                node.input[index] = self._of_one(name, len(other_shape) - from_end)
        return _Place(axis, place.inner)

    def _of_one(self, name: str, axis: int) -> str:
        """One image's part of a constant that holds the same values for each image."""
        value = self._constant(name)
        for_one_image = value.take([0], axis=axis)
        if not (value == for_one_image).all():
            raise _GaveUp
        return self._add_constant(for_one_image)

    def _transpose(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        order = list(_attribute(node, "perm", list(range(len(shape)))[::-1]))
        return _Place(order.index(place.axis), place.inner)

    def _flatten(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        axis = int(_attribute(node, "axis", 1)) % (len(shape) + 1)
        first, last = (0, axis) if place.axis < axis else (axis, len(shape))
        if place.axis != first and math.prod(shape[first : place.axis]) != 1:
            raise _GaveUp
        return _Place(0 if place.axis < axis else 1, place.inner * math.prod(shape[place.axis + 1 : last]))

    def _reshape(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        if node.input[0] != source:
            raise _GaveUp
        output_shape = self._shapes[node.output[0]]
        elements = place.inner * math.prod(shape[place.axis + 1 :])  # elements of one image that lie together
        axis = self._axis_of(elements, output_shape, place.axis)
        if node.input[1] in self._moving:
            return _Place(axis, elements // math.prod(output_shape[axis + 1 :]))
        target = list(output_shape)
        target[axis] = -1
        node.input[1] = self._add_constant(np.array(target, np.int64))
        return _Place(axis, elements // math.prod(output_shape[axis + 1 :]))

    def _axis_of(self, elements: int, shape: Shape, preferred: int) -> int:
        """The axis of the images, each of which has so many elements."""
        elements_below = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        exact = [axis for axis in range(len(shape)) if elements_below[axis] == elements and shape[axis] == self._batch]
        if exact:
            return preferred if preferred in exact else exact[0]
        outermost = [axis for axis in range(len(shape)) if elements_below[axis] * shape[axis] == elements * self._batch]
        candidates = [
            axis
            for axis in range(len(shape))
            if elements % elements_below[axis] == 0
            and elements_below[axis] <= elements
            and elements_below[axis] * shape[axis] >= elements * self._batch
        ]
        # With a single image several axes fit. The images are never on the last axis, which layers multiply with their
        # weights.
        outermost_candidates = [
            axis for axis in outermost if axis in candidates and shape[axis] > 1 and axis < len(shape) - 1
        ]
        if not candidates:
            raise _GaveUp
        return (outermost_candidates or candidates)[0]

    def _expand(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        output_shape = self._shapes[node.output[0]]
        if node.input[0] != source or place.inner != 1:
            raise _GaveUp
        axis = place.axis + len(output_shape) - len(shape)
        if node.input[1] not in self._moving:
            target = list(output_shape)
            target[axis] = 1  # of two lengths the one that is not 1
            node.input[1] = self._add_constant(np.array(target, np.int64))
        return _Place(axis)

    def _concat(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        joined = int(_attribute(node, "axis", 0)) % len(shape)
        if joined == place.axis or place.inner != 1:
            raise _GaveUp
        for index, name in enumerate(node.input):
            if name in self._moving:
                continue
            for_one_image = self._of_one(name, place.axis) if self._batch > 1 else name
            dimensions = [np.array([length], np.int64) for length in self._shapes[name]]
            parts = [self._add_constant(length) for length in dimensions]
            parts[place.axis] = _COUNT
            node.input[index] = self._add_node("Expand", [for_one_image, self._add_node("Concat", parts, axis=0)])
        return place

    def _squeeze(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        axes = self._axes(node, len(shape))
        if axes is None or place.axis in axes:
            raise _GaveUp
        return _Place(place.axis - sum(axis < place.axis for axis in axes), place.inner)

    def _unsqueeze(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        axes = self._axes(node, len(self._shapes[node.output[0]]))
        if axes is None:
            raise _GaveUp
        kept = [axis for axis in range(len(shape) + len(axes)) if axis not in axes]
        return _Place(kept[place.axis], place.inner)

    def _gather(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        if node.input[0] != source or node.input[1] in self._moving:
            raise _GaveUp
        axis = int(_attribute(node, "axis", 0)) % len(shape)
        if axis == place.axis:
            raise _GaveUp
        added_axes = len(self._shapes[node.input[1]]) - 1
        return _Place(place.axis + (added_axes if axis < place.axis else 0), place.inner)

    def _reduce(self, node: onnx.NodeProto, source: str, place: _Place, shape: Shape) -> _Place:
        del source
        if node.op_type.startswith("Arg"):
            axes: list[int] | None = [int(_attribute(node, "axis", 0)) % len(shape)]
        else:
            axes = self._axes(node, len(shape))
        if axes is None or place.axis in axes:
            raise _GaveUp
        if _attribute(node, "keepdims", 1):
            return place
        return _Place(place.axis - sum(axis < place.axis for axis in axes), place.inner)

    def _axes(self, node: onnx.NodeProto, rank: int) -> list[int] | None:
        """The axes of a node: an attribute or, in newer opsets, the second input."""
        axes = _attribute(node, "axes", None)
        if axes is None and len(node.input) > 1 and node.input[1]:
            axes = self._constant(node.input[1]).ravel().tolist()
        return None if axes is None else [int(axis) % rank for axis in axes]

    def _constant(self, name: str) -> NDArray[np.generic]:
        if name not in self._constants:
            raise _GaveUp
        return self._constants[name]

    def _add_constant(self, value: NDArray[np.generic]) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self._constants[name] = value
        return name

    def _add_node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = self._name()
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _name(self) -> str:
        self._made += 1
        return f"{_COUNT}_{self._made}"

    def _head(self) -> list[onnx.NodeProto]:
        """The nodes that compute how many images there are, `[1] int64`."""
        if not any(_COUNT in node.input for node in self._nodes):
            return []
        first = self._add_constant(np.array([0], np.int64))
        return [
            helper.make_node("Shape", [self._input], [f"{_COUNT}_shape"], name=f"{_COUNT}_shape"),
            helper.make_node("Gather", [f"{_COUNT}_shape", first], [_COUNT], name=_COUNT, axis=0),
        ]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - of any kind
    return next(
        (helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name), default
    )
