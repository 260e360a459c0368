"""A server for the tests of programs that use the SDK: real gRPC on a port of its own, no model, answers by a function.

with covey.testing.FakeServer(answer=lambda image: "cat") as server, covey.Client(server.target) as client:
    assert client.classify(b"any bytes").label == "cat"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc
import numpy as np

from covey import health
from covey_proto.v1 import classifier_pb2 as pb

_SERVICE: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # As Covey's server: a client that pings a silent stream each minute, as the SDK does, or more often keeps it.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class _Failure(Exception):
    """What one request is to fail with."""

    def __init__(self, code: grpc.StatusCode, details: str, retry_after_ms: int | None) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.retry_after_ms = retry_after_ms


class FakeServer:
    """Serves one model of `labels` and input `size` `(height, width, channels)`, from its making to `stop`.

    `answer` is given each image, the file's bytes or the pixels' bytes, and gives its label; by default the first.
    With `independent` labels it gives a list of them, which may be empty. A ValueError of it makes that image an
    InvalidImage of this text. `known` says of each image whether it is of a known class; None: the model cannot tell.
    `embedding` gives each image's vector, all of one length; None: the model publishes none.
    `requests` counts the requests of Classify, and those that came by a stream.
    """

    def __init__(
        self,
        labels: Sequence[str] = ("cat", "dog"),
        *,
        answer: Callable[[bytes], str | Sequence[str]] | None = None,
        model: str = "fake",
        size: tuple[int, int, int] = (28, 28, 1),
        independent: bool = False,
        known: Callable[[bytes], bool] | None = None,
        embedding: Callable[[bytes], Sequence[float]] | None = None,
    ) -> None:
        self.requests = 0
        self._labels = tuple(labels)
        self._answer = answer or (lambda image: self._labels[0])
        self._kind = pb.ModelInfo.ANSWER_INDEPENDENT if independent else pb.ModelInfo.ANSWER_UNSPECIFIED
        self._known = known
        self._embedding = embedding
        self._name = model
        self._size = size
        self._failure: _Failure | None = None
        self._failures_left = 0
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Classify": _unary(self._classify, pb.ClassifyRequest.FromString),
            "ClassifyStream": grpc.stream_stream_rpc_method_handler(
                self._classify_stream,
                pb.ClassifyStreamRequest.FromString,
                pb.ClassifyStreamResponse.SerializeToString,
            ),
            "ListModels": _unary(self._list_models, pb.ListModelsRequest.FromString),
            "GetModel": _unary(self._get_model, pb.GetModelRequest.FromString),
        }
        checks: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(lambda request, context: bytes((8, health.Health.SERVING)))
        }
        self._server = grpc.server(ThreadPoolExecutor(8), options=_OPTIONS)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(_SERVICE, methods),
                grpc.method_handlers_generic_handler("grpc.health.v1.Health", checks),
            )
        )
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def fail(self, status: str, details: str, *, times: int = 1, retry_after_ms: int | None = None) -> None:
        """The next `times` requests fail with the gRPC status of this name; UNAVAILABLE ends their stream."""
        self._failure = _Failure(grpc.StatusCode[status], details, retry_after_ms)
        self._failures_left = times

    def stop(self) -> None:
        """Closes the port. Calls under way fail."""
        self._server.stop(grace=None).wait()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _classify(self, request: pb.ClassifyRequest, context: grpc.ServicerContext) -> pb.ClassifyResponse:
        try:
            return self._answered(request)
        except _Failure as failure:
            if failure.retry_after_ms is not None:
                context.set_trailing_metadata((("retry-after-ms", str(failure.retry_after_ms)),))
            context.abort(failure.code, failure.details)

    def _classify_stream(
        self, requests: Iterator[pb.ClassifyStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.ClassifyStreamResponse]:
        for message in requests:
            try:
                yield pb.ClassifyStreamResponse(id=message.id, response=self._answered(message.request))
            except _Failure as failure:
                if failure.code is grpc.StatusCode.UNAVAILABLE:
                    context.abort(failure.code, failure.details)
                error = pb.StreamError(
                    code=failure.code.name, message=failure.details, retry_after_ms=failure.retry_after_ms
                )
                yield pb.ClassifyStreamResponse(id=message.id, error=error)

    def _answered(self, request: pb.ClassifyRequest) -> pb.ClassifyResponse:
        """Raises _Failure."""
        self.requests += 1
        if self._failure is not None and self._failures_left > 0:
            self._failures_left -= 1
            raise self._failure
        height, width, channels = self._size
        one = height * width * channels
        data = request.pixels.data
        if len(data) % one:
            raise _Failure(
                grpc.StatusCode.INVALID_ARGUMENT, f"{len(data)} bytes of pixels; images have {one} each", None
            )
        if request.embedding and self._embedding is None:
            raise _Failure(grpc.StatusCode.INVALID_ARGUMENT, "the model publishes no embedding", None)
        images = [*request.encoded.images, *[data[start : start + one] for start in range(0, len(data), one)]]
        return pb.ClassifyResponse(
            results=[self._result(image, request) for image in images],
            model=self._name,
            version=1,
            timing=pb.Timing(batch_size=len(images), device="cpu"),
            answer=self._kind,
        )

    def _result(self, image: bytes, request: pb.ClassifyRequest) -> pb.Result:
        try:
            answer = self._answer(image)
        except ValueError as error:
            return pb.Result(error=pb.ImageError(reason=pb.ImageError.REASON_INVALID, message=str(error)))
        given = [answer] if isinstance(answer, str) else answer
        if request.HasField("top_k"):
            given = given[: request.top_k]
        known = self._known(image) if self._known is not None else None
        embedding = b""
        if request.embedding and self._embedding is not None:
            embedding = np.array(self._embedding(image), "<f4").tobytes()
        return pb.Result(classes=[self._class(label) for label in given], known=known, embedding=embedding)

    def _class(self, label: str) -> pb.Class:
        index = self._labels.index(label) if label in self._labels else 0
        return pb.Class(label=label, index=index, probability=1.0)

    def _list_models(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        return pb.ListModelsResponse(models=[self._model()])

    def _get_model(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:
        if request.name not in ("", self._name) or request.version not in (0, 1):
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}, version {request.version}")
        return pb.GetModelResponse(model=self._model())

    def _model(self) -> pb.Model:
        height, width, channels = self._size
        size = pb.ImageSpec(
            height=height,
            width=width,
            channels=channels,
            resize=pb.ImageSpec.RESIZE_STRETCH,
            background="#ffffff",
        )
        return pb.Model(
            name=self._name,
            version=1,
            state=pb.Model.STATE_READY,
            is_default=True,
            is_default_version=True,
            info=pb.ModelInfo(
                name=self._name,
                version=1,
                labels=self._labels,
                input=size,
                answer=self._kind,
                embedding_size=0 if self._embedding is None else len(self._embedding(bytes(height * width * channels))),
            ),
            serving=pb.Serving(
                device="cpu", workers=1, threads=1, max_batch_size=64, max_message_bytes=64 << 20, digest="fake"
            ),
        )


def _unary(behaviour: Callable[[Any, grpc.ServicerContext], Any], parse: Callable[[bytes], Any]) -> Any:  # noqa: ANN401
    return grpc.unary_unary_rpc_method_handler(behaviour, parse, lambda message: message.SerializeToString())
