"""Changes to a graph that keep what it computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import onnx
from google.protobuf.message import Message

from covey_export.importing.sources.onnx_file import graphs

_M = TypeVar("_M", bound=Message)


def strip(network: onnx.GraphProto, exit_: str) -> None:
    """Removes what the output does not need, what other exporters note (paths of their machines), and shapes."""
    needed, kept = {exit_}, []
    for node in reversed(network.node):
        if needed.intersection(node.output):
            needed.update(uses(node))
            kept.append(node)
    kept.reverse()
    nodes = [_copy(node) for node in kept]
    del network.node[:]
    network.node.extend(nodes)
    for name in ("initializer", "sparse_initializer"):
        tensors = [candidate for candidate in getattr(network, name) if _tensor_name(candidate) in needed]
        if len(tensors) < len(getattr(network, name)):
            copies = [_copy(tensor) for tensor in tensors]
            network.ClearField(name)
            getattr(network, name).extend(copies)
    for graph in graphs(network):
        for node in graph.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]
        for tensor in graph.initializer:
            tensor.ClearField("doc_string")
        del graph.value_info[:]
        del graph.metadata_props[:]
        graph.ClearField("doc_string")


def _copy(message: _M) -> _M:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _tensor_name(tensor: onnx.TensorProto | onnx.SparseTensorProto) -> str:
    return tensor.values.name if isinstance(tensor, onnx.SparseTensorProto) else tensor.name


def uses(node: onnx.NodeProto) -> Iterable[str]:
    """The values that a node reads, those that graphs in it read from outside included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in (attribute.g, *attribute.graphs):
            for inner_node in inner.node:
                yield from uses(inner_node)
            yield from (value.name for value in inner.output)


def names(graph: onnx.GraphProto) -> set[str]:
    """The names of all values, constants and nodes."""
    names: set[str] = set()
    for nested in graphs(graph):
        names.update(value.name for value in (*nested.input, *nested.output))
        names.update(tensor.name for tensor in nested.initializer)
        names.update(tensor.values.name for tensor in nested.sparse_initializer)
        for node in nested.node:
            names.update((*node.input, *node.output, node.name))
    return names


def rename(graph: onnx.GraphProto, new_names: Mapping[str, str]) -> None:
    """Gives values new names wherever they are made or used."""

    def renamed(values: Iterable[str]) -> list[str]:
        return [new_names.get(value, value) for value in values]

    def rename_one(target: object, attribute: str) -> None:
        value = getattr(target, attribute)
        if value in new_names:
            setattr(target, attribute, new_names[value])

    for nested in graphs(graph):
        for node in nested.node:
            if not new_names.keys().isdisjoint((*node.input, *node.output)):
                node.input[:], node.output[:] = renamed(node.input), renamed(node.output)
        for value in (*nested.input, *nested.output, *nested.value_info, *nested.initializer):
            rename_one(value, "name")
        for sparse in nested.sparse_initializer:
            rename_one(sparse.values, "name")
        for annotation in nested.quantization_annotation:
            rename_one(annotation, "tensor_name")
            for entry in annotation.quant_parameter_tensor_names:
                rename_one(entry, "value")
