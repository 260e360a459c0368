"""Classify requests in the queue, and how they write their answers."""

from __future__ import annotations

from collections.abc import Sequence

from covey_server.batching.output import NOT_FINITE, Output
from covey_server.batching.request import Buffer, Request
from covey_server.calls.call import Call
from covey_server.errors import EngineFailed
from covey_server.inference.served_model import ServedModel
from covey_server.protocols.classifier import messages
from covey_server.protocols.classifier.messages import ImageFailure
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.fast_way import FormGroup
from covey_server.protocols.forms import Form
from covey_server.protocols.pipeline import Pipeline, PipelineRequest


class Classification(PipelineRequest):
    """A Classify request in the queue."""

    __slots__ = ()
    _writer: ResponseWriter

    def can_answer(self, output: Output, first: int) -> bool:
        return self.joined is not None or not self._fails_on_trial(output, first, self.count)

    def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
        """One for each row. Raises EngineFailed where one of a canary's is not finite."""
        if self._fails_on_trial(output, first, count):
            raise EngineFailed(NOT_FINITE)
        return self._writer.results(output, self._top_k, first, count)

    def _fails_on_trial(self, output: Output, first: int, count: int) -> bool:
        """Whether a row that is not finite is a canary's: then the served version answers."""
        return output.finite is not None and not output.are_finite(first, count) and self.is_on_trial

    def write(self, rows: Sequence[Buffer]) -> bytes:
        return self._write_results(rows) + _tail(self._writer, self)

    def _write_results(self, results: Sequence[Buffer]) -> bytes:
        return b"".join(results)


class PartialClassification(Classification):
    """A Classify request with images that could not be read: its answer has errors in their places."""

    __slots__ = ("_failures",)

    def __init__(
        self, pipeline: Pipeline, call: Call, model: ServedModel, writer: ResponseWriter, top_k: int,
        rows: Buffer, count: int, failures: Sequence[ImageFailure | None],
    ) -> None:  # fmt: skip
        super().__init__(pipeline, call, model, writer, top_k, rows, count)
        self._failures = failures

    def _write_results(self, results: Sequence[Buffer]) -> bytes:
        return messages.write_results(results, self._failures)


class ClassificationWithEmbedding(Classification):
    """A Classify request whose results have embeddings."""

    __slots__ = ()
    wants_embedding = True

    def write_rows(self, output: Output, first: int, count: int) -> list[bytes]:
        """As Classification, with the embeddings: a row is not finite either where its embedding is not."""
        assert output.embedding is not None
        results = Classification.write_rows(self, output, first, count)
        return self._writer.with_embeddings(results, output.embedding[first : first + count])

    def _fails_on_trial(self, output: Output, first: int, count: int) -> bool:
        return self.is_on_trial and not (output.are_finite(first, count) and output.has_finite_embeddings(first, count))


class PartialClassificationWithEmbedding(ClassificationWithEmbedding, PartialClassification):
    """A Classify request of both kinds."""

    __slots__ = ()


class ClassificationForm(Form):
    """What a Classify request with pixels says beside them."""

    __slots__ = ("_top_k", "_writer")

    def __init__(self, name: str, version: int, count: int, writer: ResponseWriter, top_k: int) -> None:
        super().__init__(name, version, count)
        self._writer = writer
        self._top_k = top_k

    def request(self, pipeline: Pipeline, call: Call, model: ServedModel, rows: Buffer) -> Classification:
        return Classification(pipeline, call, model, self._writer, self._top_k, rows, self.count)

    def write(self, group: FormGroup, output: Output, first: int) -> list[bytes]:
        results = self._writer.results(output, self._top_k, first, group.count)
        tail, count = _tail(self._writer, group), self.count
        if count == 1:
            return [result + tail for result in results]
        return [b"".join(results[start : start + count]) + tail for start in range(0, group.count, count)]


def _tail(writer: ResponseWriter, request: Request) -> bytes:
    """What follows the results in the answer of a request that is computed."""
    arrived_ns = request.arrived_ns
    # Differences of whole microseconds since arrival, so that the parts add up to the total exactly.
    decode_us = (request.queued_ns - arrived_ns) // 1000
    return writer.tail(
        (request.computed_ns - arrived_ns) // 1000,
        decode_us,
        (request.started_ns - arrived_ns) // 1000 - decode_us,
        request.batch_size,
    )
