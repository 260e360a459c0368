"""Requests of ModelInfer in the queue, and how they write their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from covey_proto.tensors import EMBEDDING
from covey_server.batching.output import NOT_FINITE, Output
from covey_server.batching.request import Buffer
from covey_server.calls.call import Call
from covey_server.errors import EngineFailed
from covey_server.inference.served_model import ServedModel
from covey_server.protocols.fast_way import FormGroup
from covey_server.protocols.forms import Form
from covey_server.protocols.open_inference.outputs import OutputWriter, extra_rows
from covey_server.protocols.pipeline import Pipeline, PipelineRequest


class Inference(PipelineRequest):
    """A ModelInfer request in the queue. `k` 0: the answer is all probabilities."""

    __slots__ = ("_id",)
    _writer: OutputWriter

    def __init__(
        self, pipeline: Pipeline, call: Call, model: ServedModel, writer: OutputWriter, k: int, rows: Buffer,
        count: int, request_id: str,
    ) -> None:  # fmt: skip
        PipelineRequest.__init__(self, pipeline, call, model, writer, k, rows, count)
        self._id = request_id

    def can_answer(self, output: Output, first: int) -> bool:
        return self.joined is not None or output.are_finite(first, self.count)

    def write_rows(self, output: Output, first: int, count: int) -> Sequence[Buffer]:
        """Raises EngineFailed where a row is not finite: this protocol has no errors of single images."""
        if output.finite is not None and not output.are_finite(first, count):
            place = int(output.finite[first : first + count].argmin())
            which = f"image {place + 1} of {count}: " if count == self.count > 1 else ""  # else it is a part of them
            raise EngineFailed(which + NOT_FINITE)
        return self._writer.rows(output, self._top_k, first, count)

    def write(self, rows: Sequence[Buffer]) -> bytes:
        return self._writer.write(self._top_k, self._id, self.count, rows)


class InferenceAndMore(Inference):
    """A request for outputs that are answered by name alone, `extra`, and for the ordinary one unless it `is_bare`."""

    __slots__ = ("_extra", "_is_bare")

    def __init__(
        self, extra: tuple[str, ...], is_bare: bool, pipeline: Pipeline, call: Call, model: ServedModel,
        writer: OutputWriter, k: int, rows: Buffer, count: int, request_id: str,
    ) -> None:  # fmt: skip
        Inference.__init__(self, pipeline, call, model, writer, k, rows, count, request_id)
        self._extra = extra
        self._is_bare = is_bare

    @property
    def wants_embedding(self) -> bool:  # type: ignore[override]  # of most requests it is always False
        return EMBEDDING in self._extra

    def can_answer(self, output: Output, first: int) -> bool:
        if self.joined is not None:
            return True
        return Inference.can_answer(self, output, first) and (
            not self.wants_embedding or output.has_finite_embeddings(first, self.count)
        )

    def write_rows(self, output: Output, first: int, count: int) -> Sequence[Buffer]:
        """One buffer for each output. Raises as Inference does."""
        ordinary = b"".join(Inference.write_rows(self, output, first, count))
        extra = [extra_rows(output, name, self.model, first, count) for name in self._extra]
        return extra if self._is_bare else [ordinary, *extra]

    def write(self, rows: Sequence[Buffer]) -> bytes:
        step = len(self._extra) + (not self._is_bare)
        extra = [(name, b"".join(rows[place::step])) for place, name in enumerate(self._extra, step - len(self._extra))]
        ordinary = () if self._is_bare else rows[::step]
        return self._writer.write_extra(self._top_k, self._id, self.count, ordinary, extra)


MakeInference = Callable[[Pipeline, Call, ServedModel, OutputWriter, int, Buffer, int, str], Inference]


class InferenceForm(Form):
    """What a ModelInfer request for all probabilities says beside its pixels."""

    __slots__ = ("_begin", "_size", "_writer")

    def __init__(self, name: str, version: int, count: int, writer: OutputWriter) -> None:
        super().__init__(name, version, count)
        self._writer = writer
        self._begin = writer.begin(count)
        self._size = count * writer.row_bytes[0]

    def request(self, pipeline: Pipeline, call: Call, model: ServedModel, rows: Buffer) -> Inference:
        return Inference(pipeline, call, model, self._writer, 0, rows, self.count, "")

    def write(self, group: FormGroup, output: Output, first: int) -> list[bytes]:
        (raw,) = self._writer.rows(output, 0, first, group.count)
        begin, size = self._begin, self._size
        return [begin + raw[start : start + size] for start in range(0, len(raw), size)]
