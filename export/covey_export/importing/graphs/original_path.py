"""How the served file is run from the original's own input to its own output, so that the original's clients need no
change: found in the graph, and tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from covey_export.importing.graphs.graph import BATCH
from covey_export.importing.graphs.graph_edits import uses
from covey_export.importing.proving import proof
from covey_export.importing.proving.original import Original, Scores
from covey_export.importing.proving.proof import Graph
from covey_export.importing.settings.activation import Activation
from covey_proto.tensors import ENCODED, IMAGES
from covey_proto.tolerances import TOLERANCES
from covey_proto.v1.classifier_pb2 import OriginalPath
from covey_server.errors import CoveyServerError
from covey_server.inference.devices import CPU
from covey_server.inference.engine import Session
from covey_server.inference.original_graph import rewire

_DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.float16): "FP16"}
_TRIED_IMAGES = 5


@dataclass(frozen=True)
class FoundPath:
    """The path, or None and why there is none; `description` is for people."""

    path: OriginalPath | None
    description: str


def find(graph: Graph, original: Original, prepared: NDArray[Any], scores: Scores, activation: Activation) -> FoundPath:
    """Finds the path and tries it. `prepared` `[N, ...]` are images as the original takes them, `scores` `[N, K]` what
    it gives for them. They are compared within the tolerance of what the network computes in, times the largest score
    where that is above 1."""
    name, datatype = original.signature.input_name, original.signature.datatype
    if (name, datatype) in ((IMAGES, "UINT8"), (ENCODED, "BYTES")):
        return FoundPath(None, f"its own input {name!r} is not offered: the server has one of that name and type")
    path = _path(graph, original)
    if path is None:
        return FoundPath(None, f"its own input {name!r} is not offered: its way through the graph cannot be cut out")
    prepared, scores = prepared[:_TRIED_IMAGES], scores[:_TRIED_IMAGES]
    try:
        session = Session(rewire(proof.serialized(graph.model), path), CPU, 1)
        outputs = session.run(_in_groups(prepared, graph.max_batch or 1))[: len(prepared)]
    except CoveyServerError as error:
        return FoundPath(None, f"its own input {name!r} is not offered: {error}")
    difference = np.abs(outputs.reshape(scores.shape).astype(np.float32) - scores).max()
    allowed = TOLERANCES[proof.precision(original.model)] * max(1.0, float(np.abs(scores).max()))
    if not difference <= allowed:
        return FoundPath(None, f"its own input {name!r} is not offered: its outputs differ by {difference:.2g}")
    shape, dtype = (outputs.shape[1:], outputs.dtype) if not graph.max_batch else _declared(original, scores.shape[1])
    path.output_shape.extend(shape)
    path.output_datatype = _DATATYPES[dtype]
    path.activation = activation.value
    sizes = ", ".join(map(str, prepared.shape[1:]))
    return FoundPath(
        path,
        f"those of the original need no change: {name} {datatype} [N, {sizes}] gives "
        f"{original.signature.output_name}, largest difference {difference:.1e}",
    )


def _path(graph: Graph, original: Original) -> OriginalPath | None:
    proto, signature = graph.model.graph, original.signature
    made_by = {name: index for index, node in enumerate(proto.node) for name in node.output}
    needed: set[int] = set()
    waiting = [graph.exit]
    while waiting:
        value = waiting.pop()
        index = made_by.get(value)
        if value == graph.entry or index is None or index in needed:
            continue
        needed.add(index)
        waiting.extend(uses(proto.node[index]))
    needed_names = {node.name for index, node in enumerate(proto.node) if index in needed}
    unused = [node.name for index, node in enumerate(proto.node) if index not in needed]
    if "" in unused or not needed_names.isdisjoint(unused):
        return None
    exit_type = TensorProto.FLOAT if graph.max_batch else _output(original).type.tensor_type.elem_type
    added = onnx.GraphProto()
    added.input.append(
        helper.make_tensor_value_info(graph.entry, signature.elem_type, [BATCH, *signature.shape(0)[1:]])
    )
    added.output.append(helper.make_tensor_value_info(graph.exit, exit_type, None))
    return OriginalPath(unused_nodes=unused, graph=added.SerializeToString())


def _in_groups(prepared: NDArray[Any], size: int) -> NDArray[Any]:
    missing = -len(prepared) % size
    return np.concatenate([prepared, np.repeat(prepared[-1:], missing, axis=0)]) if missing else prepared


def _output(original: Original) -> onnx.ValueInfoProto:
    return next(value for value in original.model.graph.output if value.name == original.signature.output_name)


def _declared(original: Original, classes: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape of one image's output and its type, as the file declares them; a graph of groups has other ones."""
    tensor = _output(original).type.tensor_type
    shape = tuple(dim.dim_value for dim in tensor.shape.dim)[1:]
    dtype = np.dtype(np.float16 if tensor.elem_type == TensorProto.FLOAT16 else np.float32)
    return shape if math.prod(shape) == classes and shape else (classes,), dtype
