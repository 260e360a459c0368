"""Finds the nodes of an exported graph that stay in float32, whatever the network computes in."""

from __future__ import annotations

import onnx

_KINDS = ("Transpose", "Gather", "Cast", "Mul", "Add")  # Gather: blue first


def nodes(graph: onnx.GraphProto) -> list[str]:
    """The names of the nodes between the pixels and the network's first layer: a chain of layout change, cast to
    float, and arithmetic with constants. Pixels of 8 bits that were rounded again before the first layer would lose
    what the network was trained on.
    """
    constants = {tensor.name for tensor in graph.initializer}
    names: list[str] = []
    value = graph.input[0].name
    while True:
        takers = [node for node in graph.node if value in node.input]
        if len(takers) != 1 or takers[0].op_type not in _KINDS:
            return names
        (node,) = takers
        if any(name != value and name not in constants for name in node.input):
            return names
        names.append(node.name)
        value = node.output[0]
