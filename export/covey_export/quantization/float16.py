"""Converts a float32 graph to one whose network computes in float16: half the size.

onnxruntime's CPU provider has no float16 arithmetic for most layers and casts to float32 and back; devices that
compute in float16 gain by it.
"""

from __future__ import annotations

import sys

import onnx

from covey_export.quantization import normalisation


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """The converted model, with the same contract; normalisation and softmax stay in float32. `model` is left as it
    is."""
    path = list(sys.path)
    from onnxruntime.quantization.onnx_model import ONNXModel  # seldom needed, and not cheap
    from onnxruntime.transformers import float16

    sys.path[:] = path  # that package adds itself, with modules named `optimizer` and `profiler`

    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    del copied.graph.value_info[:]  # is inferred anew; the exporter's names constants, too, which would get casts
    converted: onnx.ModelProto = float16.convert_float_to_float16(
        copied,
        keep_io_types=True,
        op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, "Softmax"],
        node_block_list=normalisation.nodes(model.graph),
    )
    _remove_round_trips(converted.graph)
    del converted.graph.value_info[:]  # which says float16 of what was taken back
    ONNXModel(converted).topological_sort()  # the conversion puts its casts at the end
    return converted


def _remove_round_trips(graph: onnx.GraphProto) -> None:
    """Connects nodes that stay in float32 directly: the conversion lets each value between them through float16 and
    back, which rounds the pixels that come in and the probabilities that go out."""
    exact = {node.output[0]: node.input[0] for node in graph.node if node.name.endswith("_cast_to_fp16_node")}
    outputs = [value.name for value in graph.output]
    backs = [
        node
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in exact and _target(node) == onnx.TensorProto.FLOAT
    ]
    instead = {node.output[0]: exact[node.input[0]] for node in backs}
    for node in backs:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [instead.get(name, name) for name in node.input]
    for output in set(outputs).intersection(instead):  # its name is the contract's
        for node in graph.node:
            node.input[:] = [output if name == instead[output] else name for name in node.input]
            node.output[:] = [output if name == instead[output] else name for name in node.output]
    used = {name for node in graph.node for name in node.input} | set(outputs)
    for node in [node for node in graph.node if node.output[0] in exact and node.output[0] not in used]:
        graph.node.remove(node)


def _target(cast: onnx.NodeProto) -> int:
    return next(int(attribute.i) for attribute in cast.attribute if attribute.name == "to")
