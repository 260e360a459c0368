"""Writes ModelInferResponse messages in protobuf's wire format, from parts that are prepared once per model and count.

Outputs are always raw: clients of Triton in C++ read nothing else.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import PROBABILITIES
from covey_server.batching.output import Output
from covey_server.inference.served_model import ServedModel
from covey_server.protocols.wire_format import write_varint

_ID, _RAW = (
    bytes((number << 3 | 2,))  # wire type 2: a length follows
    for number in (pb.ModelInferResponse.ID_FIELD_NUMBER, pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER)
)
_FLOAT_BYTES = 4
# Of a class, beside its label: at most 8 + 1 + 10 + 1 characters, and a length before them.
_MAX_TEXT_BYTES = 24
_WHOLE = 0  # the place of all probabilities in `Output.written`: no ranking has 0 classes


def probability_rows(output: Output, first: int, count: int) -> list[bytes]:
    """Rows of an output as FP32 `[count, K]`."""
    written = output.written.get(_WHOLE)
    if written is None:
        written = output.written[_WHOLE] = [output.probabilities.astype("<f4", copy=False).tobytes()]
    row_bytes = output.probabilities.shape[1] * _FLOAT_BYTES
    return [written[0][first * row_bytes : (first + count) * row_bytes]]


def classification_rows(model: ServedModel, k: int, output: Output, first: int, count: int) -> list[bytes]:
    """Rows of an output as BYTES `[count, k]`, each element "probability:index:label", best first."""
    return [_write_rows(model, *piece) for piece in output.pieces(k, first, count)]


def write(model: ServedModel, k: int, request_id: str, count: int, rows: list[bytes]) -> bytes:
    """The answer for `count` images, with what was written of their rows: k classes each or, where k is 0, all
    probabilities."""
    datatype, width = ("BYTES", k) if k else ("FP32", len(model.labels))
    return _write(_head(model.name, model.version, datatype, count, width), request_id, b"".join(rows))


def row_bytes(model: ServedModel, k: int) -> int:
    """How many bytes an image takes in an answer, with k classes or, where k is 0, all probabilities."""
    return model.responses.row_bytes[k] + k * _MAX_TEXT_BYTES if k else len(model.labels) * _FLOAT_BYTES


def _write_rows(model: ServedModel, rows: list[list[int]], probabilities: NDArray[np.float32]) -> bytes:
    elements = []
    for indices, row in zip(rows, probabilities.tolist(), strict=True):
        for index, probability in zip(indices, row, strict=True):
            text = f"{probability:f}:{index}:{model.labels[index]}".encode()
            elements += [struct.pack("<I", len(text)), text]
    return b"".join(elements)


def _write(head: bytes, request_id: str, raw: bytes) -> bytes:
    if request_id:
        octets = request_id.encode()
        return b"".join((head, _ID, write_varint(len(octets)), octets, _RAW, write_varint(len(raw)), raw))
    return b"".join((head, _RAW, write_varint(len(raw)), raw))


@lru_cache(1024)
def _head(name: str, version: int, datatype: str, count: int, width: int) -> bytes:
    """All but the id and the values."""
    output = pb.ModelInferResponse.InferOutputTensor(name=PROBABILITIES, datatype=datatype, shape=(count, width))
    return pb.ModelInferResponse(model_name=name, model_version=str(version), outputs=[output]).SerializeToString()
