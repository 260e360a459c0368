"""Writes ClassifyResponse messages in protobuf's wire format, from parts that are prepared once per model.

Building them of message objects costs 4 us an image, a third of what a small network takes to compute it; this
costs 0.7. A test reads every kind of answer back with the generated classes.
Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray

from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.wire_format import read_varint, write_varint
from covey_server.batching.output import NOT_FINITE, PIECE_CLASSES, Output
from covey_server.inference.served_model import ServedModel
from covey_server.protocols.classifier.given_labels import given

_LENGTH_DELIMITED = 2
_FIXED_32 = 5
_RESULTS = bytes((pb.ClassifyResponse.RESULTS_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_TIMING = bytes((pb.ClassifyResponse.TIMING_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_CLASSES = bytes((pb.Result.CLASSES_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_PROBABILITY = bytes((pb.Class.PROBABILITY_FIELD_NUMBER << 3 | _FIXED_32,))
_KNOWN = tuple(pb.Result(known=known).SerializeToString() for known in (False, True))
_KNOWN_BYTES = len(_KNOWN[True])
_EMBEDDING = bytes((pb.Result.EMBEDDING_FIELD_NUMBER << 3 | _LENGTH_DELIMITED,))
_FLOAT_BYTES = 4
_MAX_ROW_BYTES = 6  # before a row's classes: its field and their length
_TOTAL, _DECODE, _QUEUE, _COMPUTE, _BATCH_SIZE = (
    bytes((number << 3,))  # wire type 0: a varint follows
    for number in (
        pb.Timing.TOTAL_US_FIELD_NUMBER,
        pb.Timing.DECODE_US_FIELD_NUMBER,
        pb.Timing.QUEUE_US_FIELD_NUMBER,
        pb.Timing.COMPUTE_US_FIELD_NUMBER,
        pb.Timing.BATCH_SIZE_FIELD_NUMBER,
    )
)


class ResponseWriter:
    """Writes the answers of one model version. Safe from any thread."""

    __slots__ = ("_begins", "_device", "_known_from", "_tail", "_thresholds", "embedding_bytes", "row_bytes")

    def __init__(
        self,
        model: str,
        version: int,
        device: str,
        labels: Sequence[str],
        thresholds: NDArray[np.float32] | None = None,
        known_from: np.float32 | None = None,
        embedding_size: int = 0,
    ) -> None:
        """`thresholds` `[K]` are those of independent labels. From the largest probability `known_from` on an image is
        of a known class; None: results say nothing of it."""
        self.embedding_bytes = _FLOAT_BYTES * embedding_size + 2 * _MAX_ROW_BYTES  # of one image's, at the most
        self._known_from = None if known_from is None else float(known_from)  # of a float32: exactly
        self._thresholds = thresholds
        answer = pb.ModelInfo.ANSWER_UNSPECIFIED if thresholds is None else pb.ModelInfo.ANSWER_INDEPENDENT
        self._device = pb.Timing(device=device).SerializeToString()
        self._tail = pb.ClassifyResponse(model=model, version=version, answer=answer).SerializeToString()
        # Each class without its probability, which is its last field.
        begins = self._begins = [_begin_class(label, index) for index, label in enumerate(labels)]
        # By k: how many bytes one image's result can have, with the k longest labels.
        sizes = sorted((len(begin) + _FLOAT_BYTES for begin in begins), reverse=True)
        without_classes = _MAX_ROW_BYTES + (0 if known_from is None else _KNOWN_BYTES)
        self.row_bytes: list[int] = list(accumulate(sizes, initial=without_classes))

    @classmethod
    def of(cls, model: ServedModel) -> ResponseWriter:
        """The writer for a model."""
        device = model.engine.device.name
        return cls(
            model.name, model.version, device, model.labels, model.thresholds, model.known_from, model.embedding_size
        )

    def results(self, output: Output, k: int, first: int, count: int) -> list[bytes]:
        """One `results` field for each of `count` rows from `first` on, with the row's k most probable classes or, of
        independent labels, the k most probable ones of those that are given. What is written is shared by the requests
        of a batch that have the same k."""
        key = (self, k)
        known = output.written.get(key)
        if known is None:
            if not output.shares(k):
                return _only_finite(output, first, self._write(output, k, first, count))
            rows = self._write(output, k, 0, len(output.probabilities))
            known = output.written[key] = _only_finite(output, 0, rows)
        return known[first : first + count]

    def with_embeddings(self, results: Sequence[bytes], embedding: NDArray[np.float32]) -> list[bytes]:
        """Results of some rows with their embeddings `[N, D]` in them. Those that are errors stay as they are; a row
        whose embedding is not finite becomes one."""
        octets = np.ascontiguousarray(embedding, "<f4").view(np.uint8)
        finite: list[bool] = np.asarray(np.isfinite(embedding).all(axis=1)).tolist()
        begin = _EMBEDDING + write_varint(octets.shape[1])
        written: list[bytes] = []
        for row, result in enumerate(results):
            if result is _NOT_FINITE or not finite[row]:
                written.append(_NOT_FINITE)
                continue
            length, start = read_varint(result, len(_RESULTS))
            added = begin + octets[row].tobytes()
            written.append(b"".join((_RESULTS, write_varint(length + len(added)), result[start:], added)))
        return written

    def tail(self, total_us: int, decode_us: int, queue_us: int, batch_size: int) -> bytes:
        """What follows the results in a ClassifyResponse. All time that is neither decoding nor queueing is
        computing."""
        timing = b"".join(
            (
                _TOTAL, write_varint(total_us), _DECODE, write_varint(decode_us), _QUEUE, write_varint(queue_us),
                _COMPUTE, write_varint(total_us - decode_us - queue_us), _BATCH_SIZE, write_varint(batch_size),
                self._device,
            )
        )  # fmt: skip
        return b"".join((self._tail, _TIMING, write_varint(len(timing)), timing))

    def _write(self, output: Output, k: int, first: int, count: int) -> list[bytes]:
        if self._thresholds is not None:
            return self._write_given(output, k, first, count)
        if output.shares(k):
            return self._write_rows(*output.top(k, first, count))
        return [row for piece in output.pieces(k, first, count) for row in self._write_rows(*piece)]

    def _write_given(self, output: Output, k: int, first: int, count: int) -> list[bytes]:
        """In pieces, as those of exclusive classes."""
        assert self._thresholds is not None
        at_once = max(1, PIECE_CLASSES // k)
        written: list[bytes] = []
        for start in range(first, first + count, at_once):
            some = output.probabilities[start : min(start + at_once, first + count)]
            indices, probabilities, counts = given(some, self._thresholds, k)
            classes: list[bytes] = []
            for place in range(0, len(indices), PIECE_CLASSES):
                stop = place + PIECE_CLASSES
                classes += self._write_classes(indices[place:stop, None].tolist(), probabilities[place:stop, None])
            place = 0
            for each in counts:
                body = b"".join(classes[place : place + each])
                written.append(_RESULTS + write_varint(len(body)) + body)
                place += each
        return written

    def _write_rows(self, indices: list[list[int]], probabilities: NDArray[np.float32]) -> list[bytes]:
        k = probabilities.shape[1]
        if k <= PIECE_CLASSES:
            bodies = self._write_classes(indices, probabilities)
        else:
            pieces = [
                self._write_classes(
                    [row[start : start + PIECE_CLASSES] for row in indices],
                    probabilities[:, start : start + PIECE_CLASSES],
                )
                for start in range(0, k, PIECE_CLASSES)
            ]
            bodies = [b"".join(row) for row in zip(*pieces, strict=True)]
        if self._known_from is not None:
            threshold, best = self._known_from, probabilities.item
            return [
                _RESULTS + write_varint(len(body) + _KNOWN_BYTES) + body + _KNOWN[best(row, 0) >= threshold]
                for row, body in enumerate(bodies)
            ]
        return [_RESULTS + write_varint(len(body)) + body for body in bodies]

    def _write_classes(self, indices: list[list[int]], probabilities: NDArray[np.float32]) -> list[bytes]:
        count, k = probabilities.shape
        parts: list[bytes] = [b""] * (2 * count * k)  # alternately the beginning of a class and its probability
        parts[::2] = map(self._begins.__getitem__, chain.from_iterable(indices))
        parts[1::2] = probabilities.astype("<f4", copy=False).view(f"V{_FLOAT_BYTES}").ravel().tolist()
        return list(map(b"".join, zip(*[iter(parts)] * (2 * k), strict=True)))


def _only_finite(output: Output, first: int, rows: list[bytes]) -> list[bytes]:
    """The rows from `first` on, with an error in place of each whose probabilities are not finite."""
    if output.finite is None:
        return rows
    return [row if good else _NOT_FINITE for row, good in zip(rows, output.finite[first:], strict=False)]


def write_result(result: pb.Result) -> bytes:
    """Any other Result as a `results` field."""
    body = result.SerializeToString()
    return _RESULTS + write_varint(len(body)) + body


def _begin_class(label: str, index: int) -> bytes:
    begin = pb.Class(label=label, index=index).SerializeToString() + _PROBABILITY
    return _CLASSES + write_varint(len(begin) + _FLOAT_BYTES) + begin


_NOT_FINITE = write_result(pb.Result(error=pb.ImageError(reason=pb.ImageError.REASON_NO_ANSWER, message=NOT_FINITE)))
