"""A model's file made to run from the original's own input to its own output, over the same weights.

ONNX files are protobuf messages, so that two small changes to a copy do it. Nodes, inputs and outputs that are left out
get the number of a field that nobody knows, which parsers pass over; what is added is appended, since a message that
comes twice is merged. Python reads and moves no weights.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager

from covey_proto.v1.classifier_pb2 import OriginalPath
from covey_proto.wire_format import DELIMITED, Payload, fields, write_varint
from covey_server.errors import RefusedModel

# Of onnx.ModelProto, onnx.GraphProto and onnx.NodeProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT = 1, 11, 12
_NODE_NAME = 3
_HIDDEN = 3 << 3 | DELIMITED  # a number that GraphProto has reserved; as long as those it replaces: one byte


@contextmanager
def rewired(descriptor: int, size_bytes: int, path: OriginalPath) -> Iterator[bytes | str]:
    """The changed model: the path of a file in memory, to be loaded while it is open, or bytes where the system has no
    such files.

    `descriptor` is the open file of the model, of `size_bytes` when it was loaded. Raises RefusedModel, OSError.
    """
    memory = _open_memory()
    if memory is None:
        yield rewire(os.pread(descriptor, size_bytes, 0), path)
        return
    try:
        _copy(descriptor, memory, size_bytes)
        with mmap.mmap(memory, size_bytes) as mapped:
            _hide(mapped, path)
        os.pwrite(memory, _added(path), size_bytes)
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)


def rewire(model: bytes, path: OriginalPath) -> bytes:
    """The same of a model's bytes. Raises RefusedModel."""
    data = bytearray(model)
    _hide(data, path)
    return bytes(data) + _added(path)


def _added(path: OriginalPath) -> bytes:
    return b"".join((bytes((_MODEL_GRAPH << 3 | DELIMITED,)), write_varint(len(path.graph)), path.graph))


def _open_memory() -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.memfd_create("covey-original", os.MFD_CLOEXEC)
    except OSError:  # some sandboxes have none
        return None


def _copy(source: int, target: int, size_bytes: int) -> None:
    place = 0
    while place < size_bytes:
        copied = os.sendfile(target, source, place, size_bytes - place)
        if not copied:
            raise RefusedModel(f"the model's file has {place:,} bytes now and had {size_bytes:,} when it was loaded")
        place += copied


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
