"""The vector before a network's last layer as a second output of its graph, and how it compares with PyTorch's.

No node is added: the tensor that the last layer reads gets the name of the output. So it costs nothing where nobody
asks for it, and the probabilities, which verification and golden check compare, are computed from it. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from covey_export.errors import InvalidNetwork
from covey_export.importing.graphs import graph_edits
from covey_proto import tensors
from covey_reports.language import say

MIN_COSINE = 0.95  # on average, of a variant's embeddings with PyTorch's; chosen, not measured
# What may stand between the last layer and the probabilities: functions of single scores, and of their shape.
_BEHIND = frozenset(
    ("Softmax", "LogSoftmax", "Sigmoid", "Exp", "Log", "Clip", "Div", "Mul", "Add", "Cast", "Identity", "Reshape",
     "Flatten", "Squeeze", "Unsqueeze")
)  # fmt: skip
_LAYERS = ("Gemm", "MatMul")
_EXPECTED = "expected a linear layer last, whose input is the embedding"


@dataclass(frozen=True)
class Comparison:
    """A file's embeddings of the test images beside PyTorch's. `largest_difference` is that of a number, as a share of
    the largest of PyTorch's numbers; `mean_cosine` is of the two vectors of each image, of those that are not zero."""

    size: int
    largest_difference: float
    mean_cosine: float

    @property
    def sentence(self) -> str:
        """For people."""
        return say(
            "embedding of {size:,} numbers: largest difference {difference:.1e} of the largest number, mean cosine "
            "{cosine:.6f}",
            size=self.size,
            difference=self.largest_difference,
            cosine=self.mean_cosine,
        )


def publish(model: onnx.ModelProto, kept: frozenset[str] = frozenset()) -> int:
    """Makes the input of the graph's last layer its second output, `embedding` `[N, D] float32`. Returns D. Tensors
    that are `kept` keep their names.

    Raises InvalidNetwork where the last layer is no linear one, or where its input cannot be an output.
    """
    graph = model.graph
    layer = _last_layer(graph)
    weights = {value.name: value for value in graph.initializer}[layer.input[1]]
    is_turned = layer.op_type == "Gemm" and _attribute(layer, "transB")
    size = int(weights.dims[1 if is_turned else 0])
    name = layer.input[0]
    if weights.data_type != TensorProto.FLOAT:
        kind = TensorProto.DataType.Name(weights.data_type).lower()
        raise InvalidNetwork(f"the last layer computes in {kind}; an embedding is published of float32 networks alone")
    if name in kept or not any(name in node.output for node in graph.node):
        raise InvalidNetwork(f"the last layer reads the image itself: there is no embedding before it; {_EXPECTED}")
    if layer.op_type == "MatMul" and _rank(model, name) != 2:
        raise InvalidNetwork(f"the last layer, MatMul, reads more than one vector of an image; {_EXPECTED}")
    names = {each for node in graph.node for each in (*node.input, *node.output)}
    if tensors.EMBEDDING in names:
        raise InvalidNetwork(
            f"a tensor of the graph is named {tensors.EMBEDDING!r} already, which is the name of the output; export "
            f"the network with another name for it"
        )
    graph_edits.rename(graph, {name: tensors.EMBEDDING})
    for value in [value for value in graph.value_info if value.name == tensors.EMBEDDING]:
        graph.value_info.remove(value)  # an output says its shape itself
    images = graph.output[0].type.tensor_type.shape.dim[0]
    shape = [images.dim_param or (images.dim_value if images.HasField("dim_value") else None), size]
    graph.output.append(helper.make_tensor_value_info(tensors.EMBEDDING, TensorProto.FLOAT, shape))
    return size


def compare(found: NDArray[np.float32], expected: NDArray[np.float32]) -> Comparison:
    """Both `[N, D]`; `expected` are PyTorch's."""
    scale = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max())
    rows, others = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(others, axis=1)
    cosines = (rows * others).sum(axis=1)[lengths > 0] / lengths[lengths > 0]
    share = difference / scale if scale else difference
    return Comparison(found.shape[1], share, float(cosines.mean()) if len(cosines) else 1.0)


def _last_layer(graph: onnx.GraphProto) -> onnx.NodeProto:
    makers = {name: node for node in graph.node for name in node.output}
    weights = {value.name for value in graph.initializer}
    constants = weights | {name for name, node in makers.items() if node.op_type == "Constant"}
    node = makers.get(graph.output[0].name)
    while node is not None:
        if node.op_type in _LAYERS and node.input[1] in weights and not _attribute(node, "transA"):
            return node
        varying = [name for name in node.input if name and name not in constants]
        if node.op_type not in _BEHIND or len(varying) != 1:
            break
        node = makers.get(varying[0])
    raise InvalidNetwork(f"the network ends in {node.op_type if node is not None else 'its input'}; {_EXPECTED}")


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), 0)


def _rank(model: onnx.ModelProto, name: str) -> int | None:
    """How many axes a tensor has; None where nothing says so."""
    for value in (*model.graph.value_info, *onnx.shape_inference.infer_shapes(model).graph.value_info):
        if value.name == name and value.type.tensor_type.HasField("shape"):
            return len(value.type.tensor_type.shape.dim)
    return None
