"""What a graph's constants determine before any image comes: values that depend on them alone, and shapes."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import numpy_helper

MAX_FOLDED_BYTES = 64 * 2**20
_RANDOM = ("Random", "Bernoulli", "Multinomial")

Shape = tuple[int, ...]


def fold(graph: onnx.GraphProto) -> None:
    """Computes what depends on constants alone, as long as it is small: shapes that exporters leave to be computed, and
    tokens that they expand to the batch."""
    from onnx.reference import ReferenceEvaluator  # not cheap, and seldom needed

    constants = {tensor.name: tensor for tensor in graph.initializer if math.prod(tensor.dims) * 8 <= MAX_FOLDED_BYTES}
    remaining = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if any(name not in constants for name in inputs) or node.op_type.startswith(_RANDOM) or node.domain:
            remaining.append(node)
            continue
        try:
            feeds = {name: numpy_helper.to_array(constants[name]) for name in inputs}
            values = [np.asarray(value) for value in ReferenceEvaluator(node).run(None, feeds)]
            tensors = [
                numpy_helper.from_array(value, name) for name, value in zip(node.output, values, strict=True) if name
            ]
        except Exception:  # noqa: BLE001 - operators that it does not have stay what they are
            remaining.append(node)
            continue
        if sum(value.nbytes for value in values) > MAX_FOLDED_BYTES:
            remaining.append(node)
            continue
        constants.update((tensor.name, tensor) for tensor in tensors)
        graph.initializer.extend(tensors)
    nodes = [copied(node) for node in remaining]
    del graph.node[:]
    graph.node.extend(nodes)


def shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """The shapes of all values whose dimensions are known numbers. Raises onnx.shape_inference.InferenceError."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shape_of = {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            shape_of[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
    return shape_of


def copied(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy of a node: nodes must leave a graph before its list of them is replaced."""
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied
