"""Writes ModelInferResponse messages in protobuf's wire format, from parts that are prepared once per model and count.

Outputs are always raw: clients of Triton in C++ read nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.tensors import KNOWN, PROBABILITIES
from covey_proto.wire_format import write_varint
from covey_server.batching.output import NOT_FINITE, Output
from covey_server.batching.request import Buffer
from covey_server.errors import EngineFailed
from covey_server.inference.served_model import ServedModel

_ID, _RAW = (
    bytes((number << 3 | 2,))  # wire type 2: a length follows
    for number in (pb.ModelInferResponse.ID_FIELD_NUMBER, pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER)
)
INDEPENDENT = "independent"  # the parameter `answer` where each label has a probability of its own
_FLOAT_BYTES = 4
_LARGE_BYTES = 256 << 10  # of rows that are not copied before they are in their answer
# Of a class, beside its label: at most 8 + 1 + 10 + 1 characters, and a length before them.
_MAX_TEXT_BYTES = 24


class OutputWriter:
    """Writes the answers of one model version: k classes per image or, where k is 0, all probabilities. Safe from any
    thread."""

    __slots__ = ("_head", "_labels", "_name", "_version", "embedding_bytes", "row_bytes")

    def __init__(
        self, name: str, version: int, labels: Sequence[str], *, independent: bool = False, embedding_size: int = 0
    ) -> None:
        """`independent`: the labels are; its answers say so."""
        self.embedding_bytes = _FLOAT_BYTES * embedding_size  # of one image's
        self._head: Callable[[str, int, str, int, int], bytes] = _independent_head if independent else _head
        self._name = name
        self._version = version
        self._labels = labels
        # By k: how many bytes one image can take in an answer, with the k longest labels.
        sizes = sorted((len(label.encode()) + _MAX_TEXT_BYTES for label in labels), reverse=True)
        self.row_bytes: list[int] = list(accumulate(sizes, initial=0))
        self.row_bytes[0] = len(labels) * _FLOAT_BYTES

    @classmethod
    def of(cls, model: ServedModel) -> OutputWriter:
        """The writer for a model."""
        independent = model.thresholds is not None
        return cls(
            model.name, model.version, model.labels, independent=independent, embedding_size=model.embedding_size
        )

    def rows(self, output: Output, k: int, first: int, count: int) -> Sequence[Buffer]:
        """`count` rows of an output from `first` on: as FP32 `[count, K]` or, for k classes, as BYTES `[count, k]`,
        each element "probability:index:label", best first. Of independent labels, too, these are the k most probable:
        a tensor's rows are of one length, so that thresholds are left to the caller."""
        if k:
            return [self._write_classes(*piece) for piece in output.pieces(k, first, count)]
        row_bytes = self.row_bytes[0]
        if count * row_bytes > _LARGE_BYTES:
            return [np.ascontiguousarray(output.probabilities[first : first + count], "<f4").data.cast("B")]
        key = (self, 0)
        written = output.written.get(key)
        if written is None:
            written = output.written[key] = [output.probabilities.astype("<f4", copy=False).tobytes()]
        return [written[0][first * row_bytes : (first + count) * row_bytes]]

    def write(self, k: int, request_id: str, count: int, rows: Sequence[Buffer]) -> bytes:
        """The answer for `count` images, made of what `rows` gave for them."""
        datatype, width = ("BYTES", k) if k else ("FP32", len(self._labels))
        head = self._head(self._name, self._version, datatype, count, width)
        size = write_varint(sum(map(len, rows)))
        if request_id:
            octets = request_id.encode()
            return b"".join((head, _ID, write_varint(len(octets)), octets, _RAW, size, *rows))
        return b"".join((head, _RAW, size, *rows))

    def write_extra(
        self, k: int, request_id: str, count: int, rows: Sequence[Buffer], extra: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """As `write`, with the outputs that `extra_rows` gave, by name; these alone where there are no `rows`."""
        message = pb.ModelInferResponse.FromString(self.write(k, request_id, count, rows))
        for name, content in extra:
            datatype, item_bytes = ("BOOL", 1) if name == KNOWN else ("FP32", _FLOAT_BYTES)
            message.outputs.add(name=name, datatype=datatype, shape=(count, len(content) // item_bytes // count))
            message.raw_output_contents.append(content)
        if not rows:
            del message.outputs[0], message.raw_output_contents[0]
        return message.SerializeToString()

    def begin(self, count: int) -> bytes:
        """What comes before the probabilities in an answer for `count` images, which has nothing else."""
        size = write_varint(count * self.row_bytes[0])
        return self._head(self._name, self._version, "FP32", count, len(self._labels)) + _RAW + size

    def _write_classes(self, rows: list[list[int]], probabilities: NDArray[np.float32]) -> bytes:
        elements = []
        for indices, row in zip(rows, probabilities.tolist(), strict=True):
            for index, probability in zip(indices, row, strict=True):
                text = f"{probability:f}:{index}:{self._labels[index]}".encode()
                elements += [struct.pack("<I", len(text)), text]
        return b"".join(elements)


def extra_rows(output: Output, name: str, model: ServedModel, first: int, count: int) -> bytes:
    """`count` rows from `first` on of an output that is answered by name alone: of `known` a byte each, 1 where the
    image is of a known class; of `embedding` FP32 `[count, D]`. Raises EngineFailed where one of these numbers is not
    finite."""
    if name == KNOWN:
        assert model.known_from is not None
        known: NDArray[np.bool_] = output.probabilities[first : first + count].max(axis=1) >= model.known_from
        return known.tobytes()
    assert output.embedding is not None
    if not output.has_finite_embeddings(first, count):
        raise EngineFailed(NOT_FINITE)
    return output.embedding[first : first + count].astype("<f4", copy=False).tobytes()


@lru_cache(1024)
def _head(name: str, version: int, datatype: str, count: int, width: int) -> bytes:
    """All but the id and the values."""
    return _head_message(name, version, datatype, count, width).SerializeToString()


@lru_cache(1024)
def _independent_head(name: str, version: int, datatype: str, count: int, width: int) -> bytes:
    """The same, with the parameter `answer`."""
    message = _head_message(name, version, datatype, count, width)
    message.parameters["answer"].string_param = INDEPENDENT
    return message.SerializeToString()


def _head_message(name: str, version: int, datatype: str, count: int, width: int) -> pb.ModelInferResponse:
    output = pb.ModelInferResponse.InferOutputTensor(name=PROBABILITIES, datatype=datatype, shape=(count, width))
    return pb.ModelInferResponse(model_name=name, model_version=str(version), outputs=[output])
