"""Reads the nodes of an ONNX file and how they are connected. Of weights it reads shapes only, of small constants their
values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey_proto.wire_format import DELIMITED, Payload, fields, read_varint, write_delimited
from covey_server.errors import RefusedModel

# Fields of onnx.ModelProto and the messages in it: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_OP, _NODE_ATTRIBUTE = 1, 2, 3, 4, 5
_NAME, _FLOAT, _INT, _STRING, _TENSOR, _GRAPH, _FLOATS, _INTS, _GRAPHS = 1, 2, 3, 4, 5, 6, 7, 8, 11
_DIMS, _TYPE, _FLOAT_DATA, _INT64_DATA, _TENSOR_NAME, _RAW = 1, 2, 4, 7, 8, 9
_VALUE_NAME = 1  # of onnx.ValueInfoProto

_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_MAX_VALUES = 64  # of a constant whose values are read
_MAX_NODES = 65_536


@dataclass(frozen=True)
class Constant:
    """A tensor in the file; `values` only where it is small."""

    shape: tuple[int, ...]
    values: NDArray[Any] | None


@dataclass(frozen=True)
class Node:
    """One operation. Attributes are whole numbers, floats, lists of them, text, or a Constant. The last `inputs` are
    the tensors that graphs within it (the branches of If, the body of Loop) read from outside."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """The nodes in the order of computing, and the constants by name."""

    nodes: tuple[Node, ...]
    constants: dict[str, Constant]


def read(model: Payload) -> Graph:
    """The graph in a model's bytes. Raises RefusedModel."""
    nodes: list[Node] = []
    constants: dict[str, Constant] = {}
    try:
        for number, wire_type, start, stop in fields(model, 0, len(model)):
            if (number, wire_type) == (_MODEL_GRAPH, DELIMITED):
                _read_graph(model, start, stop, nodes, constants)
    except (ValueError, struct.error) as error:
        raise RefusedModel(f"the model's file is no ONNX model: {error}") from error
    if len(nodes) > _MAX_NODES:
        raise RefusedModel(f"the model has {len(nodes):,} nodes; at most {_MAX_NODES:,} are explained")
    return Graph(tuple(nodes), constants)


def outputs(names: list[str]) -> bytes:
    """An onnx.GraphProto that only has these tensors as outputs; onnxruntime finds their types itself."""
    return b"".join(write_delimited(_GRAPH_OUTPUT, write_delimited(_VALUE_NAME, name.encode())) for name in names)


def _read_graph(model: Payload, start: int, stop: int, nodes: list[Node], constants: dict[str, Constant]) -> None:
    for number, wire_type, first, end in fields(model, start, stop):
        if wire_type != DELIMITED:
            continue
        if number == _GRAPH_NODE:
            node = _node(model, first, end)
            if node.op == "Constant":
                value = next(iter(node.attributes.values()), None)  # it has one, of one of several kinds
                if not isinstance(value, Constant):
                    numbers = None if isinstance(value, str) or value is None else np.array(value)
                    value = Constant(() if numbers is None else numbers.shape, numbers)
                constants[node.outputs[0]] = value
            else:
                nodes.append(node)
        elif number == _GRAPH_INITIALIZER:
            name, constant = _tensor(model, first, end)
            constants[name] = constant


def _node(model: Payload, start: int, stop: int) -> Node:
    name = op = ""
    inputs: list[str] = []
    outputs: list[str] = []
    attributes: dict[str, Any] = {}
    inner: list[str] = []
    for number, _, first, end in fields(model, start, stop):
        if number == _NODE_INPUT:
            inputs.append(_text(model, first, end))
        elif number == _NODE_OUTPUT:
            outputs.append(_text(model, first, end))
        elif number == _NODE_NAME:
            name = _text(model, first, end)
        elif number == _NODE_OP:
            op = _text(model, first, end)
        elif number == _NODE_ATTRIBUTE:
            key, value = _attribute(model, first, end)
            attributes[key] = value
            inner += _captured(model, first, end)
    return Node(op, name, (*inputs, *inner), tuple(outputs), attributes)


def _captured(model: Payload, start: int, stop: int) -> list[str]:
    """The names that the graphs of an attribute read from outside. Names of constants may be among them."""
    names: list[str] = []
    for number, _, first, end in fields(model, start, stop):
        if number in (_GRAPH, _GRAPHS):
            nodes: list[Node] = []
            _read_graph(model, first, end, nodes, {})
            internal = {name for node in nodes for name in node.outputs}
            names += (name for node in nodes for name in node.inputs if name and name not in internal)
    return list(dict.fromkeys(names))


def _attribute(model: Payload, start: int, stop: int) -> tuple[str, Any]:
    name = ""
    value: Any = None
    many: list[Any] = []
    for number, wire_type, first, end in fields(model, start, stop):
        if number == _NAME:
            name = _text(model, first, end)
        elif number == _FLOAT:
            value = struct.unpack_from("<f", model, first)[0]
        elif number == _INT:
            value = _signed(read_varint(model, first)[0])
        elif number == _STRING:
            value = _text(model, first, end)
        elif number == _TENSOR:
            value = _tensor(model, first, end)[1]
        elif number == _INTS:
            many += _integers(model, wire_type, first, end)
        elif number == _FLOATS:
            many += np.frombuffer(bytes(model[first:end]), "<f4").tolist()
    return name, many or value


def _tensor(model: Payload, start: int, stop: int) -> tuple[str, Constant]:
    name, kind = "", 0
    shape: list[int] = []
    raw: tuple[int, int] | None = None
    floats: list[tuple[int, int]] = []
    integers: list[int] = []
    for number, wire_type, first, end in fields(model, start, stop):
        if number == _DIMS:
            shape += _integers(model, wire_type, first, end)
        elif number == _TYPE:
            kind = read_varint(model, first)[0]
        elif number == _TENSOR_NAME:
            name = _text(model, first, end)
        elif number == _RAW:
            raw = first, end
        elif number == _FLOAT_DATA:
            floats.append((first, end))
        elif number == _INT64_DATA and end - first <= 10 * _MAX_VALUES:
            integers += _integers(model, wire_type, first, end)
    size = int(np.prod(shape, dtype=np.int64))
    values: NDArray[Any] | None = None
    if size <= _MAX_VALUES and kind in _DTYPES:
        if raw is not None:
            values = np.frombuffer(bytes(model[raw[0] : raw[1]]), _DTYPES[kind])
        elif floats:
            values = np.frombuffer(b"".join(bytes(model[first:end]) for first, end in floats), "<f4")
        elif integers:
            values = np.array(integers)
        values = values.reshape(shape) if values is not None and values.size == size else None
    return name, Constant(tuple(shape), values)


def _integers(model: Payload, wire_type: int, start: int, stop: int) -> Iterator[int]:
    """The integers in a field of one number, or of many packed ones."""
    if wire_type != DELIMITED:
        yield _signed(read_varint(model, start)[0])
        return
    while start < stop:
        number, start = read_varint(model, start)
        yield _signed(number)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _text(model: Payload, start: int, stop: int) -> str:
    return bytes(model[start:stop]).decode("utf-8", "replace")
