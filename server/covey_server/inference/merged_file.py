"""A copy of a model's file in memory, changed or with more appended: another model over the same weights.

ONNX files are protobuf messages. A message that comes twice is merged, so that what is appended to the file's bytes
belongs to its graph. Python reads and moves no weights.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from covey_proto.wire_format import write_delimited
from covey_server.errors import RefusedModel

_MODEL_GRAPH = 7  # of onnx.ModelProto: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
Content = bytearray | mmap.mmap


@contextmanager
def merged(descriptor: int, size_bytes: int, change: Callable[[Content], bytes]) -> Iterator[bytes | str]:
    """The changed model: the path of a file in memory, to be loaded while it is open, or bytes where the system has no
    such files.

    `descriptor` is the open file of the model, of `size_bytes` when it was looked at. `change` gets the copy, which it
    may change in place, and returns the onnx.GraphProto that is merged with its graph. Raises RefusedModel, OSError.
    """
    memory = _open_memory()
    if memory is None:
        data = bytearray(os.pread(descriptor, size_bytes, 0))
        added = change(data)
        yield bytes(data) + graph_field(added)
        return
    try:
        _copy(descriptor, memory, size_bytes)
        with mmap.mmap(memory, size_bytes) as mapped:
            added = change(mapped)
        os.pwrite(memory, graph_field(added), size_bytes)
        yield f"/proc/self/fd/{memory}"
    finally:
        os.close(memory)


def graph_field(graph: bytes) -> bytes:
    """An onnx.ModelProto that holds nothing but this onnx.GraphProto."""
    return write_delimited(_MODEL_GRAPH, graph)


def _open_memory() -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.memfd_create("covey-merged", os.MFD_CLOEXEC)
    except OSError:  # some sandboxes have none
        return None


def _copy(source: int, target: int, size_bytes: int) -> None:
    place = 0
    while place < size_bytes:
        copied = os.sendfile(target, source, place, size_bytes - place)
        if not copied:
            raise RefusedModel(f"the model's file has {place:,} bytes now and had {size_bytes:,} when it was loaded")
        place += copied
