"""A model's file made to run from the original's own input to its own output, over the same weights.

Nodes, inputs and outputs that are left out get the number of a field that nobody knows, which parsers pass over; what
is added is merged (see merged_file).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Set
from contextlib import AbstractContextManager

from covey_proto.v1.classifier_pb2 import OriginalPath
from covey_proto.wire_format import DELIMITED, Payload, fields
from covey_server.errors import RefusedModel
from covey_server.inference.merged_file import Content, graph_field, merged

# Of onnx.ModelProto, onnx.GraphProto and onnx.NodeProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_NAME = 3
_HIDDEN = 3 << 3 | DELIMITED  # a number that GraphProto has reserved; as long as those it replaces: one byte


def rewired(descriptor: int, size_bytes: int, path: OriginalPath) -> AbstractContextManager[bytes | str]:
    """The changed model, as `merged` gives it. Raises RefusedModel, OSError."""

    def change(model: Content) -> bytes:
        _hide(model, path)
        return path.graph

    return merged(descriptor, size_bytes, change)


def rewire(model: bytes, path: OriginalPath) -> bytes:
    """The same of a model's bytes. Raises RefusedModel."""
    data = bytearray(model)
    _hide(data, path)
    return bytes(data) + graph_field(path.graph)


def _hide(model: bytearray | mmap.mmap, path: OriginalPath) -> None:
    """Hides the graph's inputs and outputs, and the nodes that are not used."""
    unused = frozenset(name.encode() for name in path.unused_nodes)
    try:
        for number, wire_type, start, stop in fields(model, 0, len(model)):
            if number == _MODEL_GRAPH and wire_type == DELIMITED:
                for place in list(_hidden(model, start, stop, unused)):
                    model[place] = _HIDDEN
    except ValueError as error:
        raise RefusedModel(f"the model's file is no ONNX model: {error}") from error


def _hidden(model: Payload, start: int, stop: int, unused: Set[bytes]) -> Iterator[int]:
    """Where the fields begin that are to be hidden."""
    place = start
    for number, wire_type, first, end in fields(model, start, stop):
        if wire_type == DELIMITED and (
            number in (_GRAPH_INPUT, _GRAPH_OUTPUT) or (number == _GRAPH_NODE and _name(model, first, end) in unused)
        ):
            yield place
        place = end


def _name(model: Payload, start: int, stop: int) -> bytes:
    for number, wire_type, first, end in fields(model, start, stop):
        if number == _NODE_NAME and wire_type == DELIMITED:
            return bytes(model[first:end])
    return b""
