"""The layers of a graph as people see them, in order, from the prepared image to the probabilities.

What only moves numbers (casts, transposes, reshapes) or prepares pixels is no layer of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from covey_proto import tensors
from covey_server.explaining import patterns
from covey_server.explaining.naming import name_of
from covey_server.explaining.onnx_graph import Graph, Node
from covey_server.explaining.patterns import Pattern

KINDS = (
    "input", "convolution", "fully_connected", "activation", "max_pooling", "average_pooling", "normalization",
    "addition", "multiplication", "concatenation", "flatten", "softmax", "attention", "scaling", "other",
)  # fmt: skip
_ACTIVATIONS = {
    "Relu", "Sigmoid", "Tanh", "LeakyRelu", "PRelu", "Clip", "HardSigmoid", "HardSwish", "Elu", "Selu", "Celu", "Gelu",
    "Softplus", "Softsign", "Mish", "SiLU", "Swish", "ThresholdedRelu", "Exp",
}  # fmt: skip
_NORMALIZATIONS = {
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "InstanceNormalization", "LRN", "LpNormalization",
    "RMSNormalization",
}  # fmt: skip
_OF_OP = {
    **dict.fromkeys(_ACTIVATIONS, "activation"),
    **dict.fromkeys(_NORMALIZATIONS, "normalization"),
    **dict.fromkeys(("Conv", "ConvTranspose"), "convolution"),
    **dict.fromkeys(("MaxPool", "GlobalMaxPool"), "max_pooling"),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool"), "average_pooling"),
    **dict.fromkeys(("Add", "Sub", "Sum"), "addition"),
    **dict.fromkeys(("Mul", "Div"), "multiplication"),
    **dict.fromkeys(("Attention", "MultiHeadAttention"), "attention"),
    **dict.fromkeys(("Softmax", "LogSoftmax"), "softmax"),
    "Concat": "concatenation",
    "Flatten": "flatten",
}
_SCALING = {"Add", "Sub", "Mul", "Div", "Pow", "Neg", "Sqrt"}  # with a constant
_MOVING = {
    "Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Dropout", "QuantizeLinear",
    "DequantizeLinear", "Slice", "Gather", "Split", "Flatten",
}  # fmt: skip
_KEEPS_LAYOUT = _SCALING | {
    "Cast", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", "Slice", "Gather", "Split", "Concat", "Clip",
}  # fmt: skip
_PREPARING = (_MOVING - {"Flatten"}) | _SCALING | {"Concat", "Clip"}
_SHAPES = {"Shape", "Size"}  # they read no numbers of the image
_TURNED = {"NHWC": ([0, 3, 1, 2], "NCHW"), "NCHW": ([0, 2, 3, 1], "NHWC")}  # by which Transpose, into what
_SPATIAL = {"NCHW": {2, 3}, "NHWC": {1, 2}}


@dataclass(frozen=True)
class Layer:
    """One step of the network. `inputs` are layers, by index; tensors are named as in the file.

    `layout` says how a tensor of four axes lies: "NCHW", "NHWC", or "" where that is not known.
    """

    index: int
    name: str
    kind: str
    op: str
    node: Node
    output: str
    layout: str
    inputs: tuple[int, ...] = ()
    data: str = ""  # the tensor that it reads
    weight: str = ""
    bias: str = ""
    parameters: int = 0
    weight_shape: tuple[int, ...] = ()


@dataclass
class _TensorFacts:
    """What is known of the tensors so far."""

    source: dict[str, int] = field(default_factory=dict)  # the layer whose numbers a tensor holds
    layout: dict[str, str] = field(default_factory=dict)
    prepared: set[str] = field(default_factory=set)  # pixels, and what is made of them before the first layer


def find(graph: Graph) -> tuple[Layer, ...]:
    """The layers of a graph that takes `images`; the first is the prepared image."""
    data = _data(graph)
    pattern_at = patterns.find(graph, data)
    inner = {index for pattern in pattern_at.values() for index in pattern.inner}
    finder = _Finder(graph, data)
    for index, node in enumerate(graph.nodes):
        if index in inner or node.op in _SHAPES:
            continue
        if any(name in data for name in node.inputs):
            finder.add(node, pattern_at.get(index))
    return tuple(finder.layers or [finder.input_layer(tensors.IMAGES)])


def _data(graph: Graph) -> frozenset[str]:
    """The tensors that depend on the image's numbers."""
    data = {tensors.IMAGES}
    for node in graph.nodes:
        if node.op not in _SHAPES and not data.isdisjoint(node.inputs):
            data.update(node.outputs)
    return frozenset(data)


class _Finder:
    def __init__(self, graph: Graph, data: frozenset[str]) -> None:
        self.layers: list[Layer] = []
        self._graph = graph
        self._data = data
        self._names: Counter[str] = Counter()
        self._made_by = {name: node for node in graph.nodes for name in node.outputs}
        self._known = _TensorFacts(layout={tensors.IMAGES: "NHWC"}, prepared={tensors.IMAGES})

    def input_layer(self, tensor: str) -> Layer:
        """The layer that stands for the prepared image."""
        node = Node("", "", (), (tensor,))
        return Layer(0, "input", "input", "", node, tensor, self._known.layout.get(tensor, ""))

    def add(self, node: Node, pattern: Pattern | None) -> None:
        """Adds a node that reads data: as a layer, or as what only moves or prepares numbers."""
        known = self._known
        sources = [name for name in node.inputs if name in self._data]
        kind = self._kind(node, sources, pattern)
        if not self.layers:
            if node.op in _PREPARING and kind not in ("flatten", "multiplication", "fully_connected"):
                known.prepared.update(node.outputs)
                self._pass_on(node, sources)
                return
            first = next((name for name in ([pattern.data] if pattern else sources) if name in known.prepared), "")
            self.layers.append(self.input_layer(first))
            known.source.update(dict.fromkeys(known.prepared, 0))
        if not kind:
            self._pass_on(node, sources)
            return
        layer = self._layer(node, kind, sources, pattern)
        self.layers.append(layer)
        for name in node.outputs:
            known.source[name], known.layout[name] = layer.index, layer.layout

    def _pass_on(self, node: Node, sources: list[str]) -> None:
        first, known = sources[0], self._known
        layout = known.layout.get(first, "") if node.op in _KEEPS_LAYOUT else ""
        if node.op == "Transpose":
            order, new_layout = _TURNED.get(known.layout.get(first, ""), ([], ""))
            layout = new_layout if order and node.attributes.get("perm") == order else ""
        for name in node.outputs:
            known.layout[name] = layout
            if first in known.source:
                known.source[name] = known.source[first]

    def _kind(self, node: Node, sources: list[str], pattern: Pattern | None) -> str:
        """The kind of layer; "" for nodes that only move numbers."""
        if pattern is not None:
            return "fully_connected" if pattern.op == "MatMul" else "activation"
        if node.op in ("MatMul", "Gemm"):
            return "fully_connected" if node.inputs[1] not in self._data else "attention"
        if node.op in _SCALING and len(sources) == 1:
            return "scaling"
        if node.op in ("ReduceMean", "ReduceMax") and self._is_over_maps(node):
            return "average_pooling" if node.op == "ReduceMean" else "max_pooling"
        if node.op == "Reshape" and self._is_flat(node):
            return "flatten"
        if node.op in _MOVING and node.op != "Flatten":
            return ""
        return _OF_OP.get(node.op, "other")

    def _is_flat(self, node: Node) -> bool:
        """Whether maps become a row; a node that moves a row is none."""
        source = self._known.source.get(node.inputs[0])
        if source is not None and self.layers[source].kind in ("fully_connected", "flatten", "softmax"):
            return False
        target = self._graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        return target is not None and target.shape == (2,)

    def _is_over_maps(self, node: Node) -> bool:
        """Whether a reduction takes each map as a whole."""
        axes = node.attributes.get("axes")
        if axes is None and len(node.inputs) > 1:
            constant = self._graph.constants.get(node.inputs[1])
            axes = constant.values if constant is not None else None
        layout = self._known.layout.get(node.inputs[0], "")
        return axes is not None and layout in _SPATIAL and {int(axis) % 4 for axis in axes} == _SPATIAL[layout]

    def _layer(self, node: Node, kind: str, sources: list[str], pattern: Pattern | None) -> Layer:
        known = self._known
        core, op = (pattern.core, pattern.op) if pattern is not None else (node, node.op)
        data = pattern.data if pattern is not None else sources[0]
        weight = bias = ""
        if kind in ("convolution", "fully_connected"):
            data, weight = core.inputs[0], core.inputs[1]
            bias = pattern.bias if pattern is not None else (core.inputs[2] if len(core.inputs) > 2 else "")
        constants = [name for name in (*core.inputs, bias) if name and name not in self._data]
        sizes = {name: self._shape(name) for name in constants} if kind != "flatten" and op != "Clip" else {}
        if kind in ("max_pooling", "average_pooling", "softmax", "other", "concatenation"):
            sizes = {}
        inputs = sorted({known.source[name] for name in sources if name in known.source})
        if pattern is not None:
            inputs = [known.source[data]] if data in known.source else []
        layout = next((known_layout for name in (data, *sources) if (known_layout := known.layout.get(name, ""))), "")
        if kind in ("convolution", "max_pooling", "average_pooling") and op not in ("ReduceMean", "ReduceMax"):
            layout = "NCHW"
        elif kind in ("flatten", "fully_connected", "attention", "other") or op in ("ReduceMean", "ReduceMax"):
            layout = layout if node.attributes.get("keepdims", 1) and op.startswith("Reduce") else ""
        name = name_of(core, op, weight, self._names)
        output = next(filter(None, node.outputs), "")  # names of outputs that nobody reads may be empty
        parameters = sum(int(np.prod(shape, dtype=np.int64)) for shape in sizes.values())
        shape = self._shape(weight) if weight else ()
        return Layer(
            len(self.layers), name, kind, op, core, output, layout, tuple(inputs), data, weight, bias, parameters, shape
        )

    def _shape(self, name: str) -> tuple[int, ...]:
        """The shape of a constant, also of one that is computed from others at loading, as 8-bit weights usually
        are."""
        while (constant := self._graph.constants.get(name)) is None:
            node = self._made_by.get(name)
            if node is None or not node.inputs:
                return ()
            if node.op == "Transpose" and "perm" in node.attributes:
                inner = self._shape(node.inputs[0])
                return tuple(inner[axis] for axis in node.attributes["perm"]) if inner else ()
            name = node.inputs[0]
        return constant.shape
