"""A small gRPC server that speaks covey.v1 by a script, so that every status and every shape of answer can be had.

What it answers follows from the request alone: an encoded image b"cat" is labelled "cat", packed pixels are
labelled by their first byte, b"bad..." and b"huge..." are images that cannot be classified.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from tests.server.conftest import Server, StartServer, running_servers

import covey
from covey.testing import FakeServer
from covey_proto.v1 import classifier_pb2 as pb

from .gateway import Gateway

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)

SERVICE: str = pb.DESCRIPTOR.services_by_name["Classifier"].full_name
TIMING = pb.Timing(total_us=600, decode_us=100, queue_us=200, compute_us=300, batch_size=7, device="cpu")


class ScriptedServer:
    """A real server on a port of its own. `requests` are those it got; `fail` and `hold` change what it answers.
    `transport`: how `target` is reached, "grpc" or "http"."""

    def __init__(self, transport: str = "grpc") -> None:
        self.transport = transport
        self.requests: list[pb.ClassifyRequest] = []
        self.time_remaining_s: list[float] = []
        self.takes_s = 0.0
        self.models: list[pb.Model] = []
        self._failure: tuple[grpc.StatusCode, str] | None = None
        self._failures_left: float = math.inf
        self._hint: str | None = None
        self.health_answers: list[bytes] = []  # of coming health checks; then it serves
        self._calls_before_failure = 0
        self._results: Callable[[list[pb.Result]], list[pb.Result]] = lambda results: results
        self._held = threading.Event()
        self._released = threading.Event()
        self._released.set()
        self._server, self._grpc_target = self._listening("127.0.0.1:0")
        self._gateway = None if transport == "grpc" else Gateway(self._grpc_target)
        self.target = self._grpc_target if self._gateway is None else self._gateway.target

    def fail(
        self,
        code: grpc.StatusCode,
        details: str,
        after: int = 0,
        times: float = math.inf,
        retry_after: str | None = None,
    ) -> None:
        """Every call but the first `after` classifications fails with this status; after `times` failures no more."""
        self._failure = (code, details)
        self._failures_left = times
        self._hint = retry_after
        self._calls_before_failure = after

    def answer(self, results: Callable[[list[pb.Result]], list[pb.Result]]) -> None:
        """Classify answers `results(what it would have answered)`."""
        self._results = results

    def hold(self) -> None:
        """Classify answers nothing until `release` or `stop`."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def wait_until_held(self) -> None:
        assert self._held.wait(timeout=30)

    def stop(self) -> None:
        if self._gateway is not None:
            self._gateway.stop()
        self._released.set()
        self._server.stop(grace=None).wait()

    def start_again(self) -> None:
        """Listens on the same address again, after `stop`."""
        self._server, _ = self._listening(self._grpc_target)
        if self._gateway is not None:
            self._gateway = Gateway(self._grpc_target, self._gateway.server_port)

    def _listening(self, address: str) -> tuple[grpc.Server, str]:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Classify": _handler(self._classify, pb.ClassifyRequest, pb.ClassifyResponse),
            "ListModels": _handler(self._list_models, pb.ListModelsRequest, pb.ListModelsResponse),
            "GetModel": _handler(self._get_model, pb.GetModelRequest, pb.GetModelResponse),
        }
        server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        checks: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check_health)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", checks),))
        target = f"127.0.0.1:{server.add_insecure_port(address)}"
        server.start()
        return server, target

    def _classify(self, request: pb.ClassifyRequest, context: grpc.ServicerContext) -> pb.ClassifyResponse:
        self.requests.append(request)
        self.time_remaining_s.append(context.time_remaining())
        time.sleep(self.takes_s)
        self._held.set()
        self._released.wait()
        self._fail_if_told(context)
        return pb.ClassifyResponse(
            results=self._results([_result(image, request.top_k or 2) for image in _images(request)]),
            model=request.model or "digits",
            version=request.version or 3,
            timing=TIMING,
        )

    def _list_models(self, request: pb.ListModelsRequest, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        self._fail_if_told(context)
        return pb.ListModelsResponse(models=self.models)

    def _get_model(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:
        self._fail_if_told(context)
        asked = [
            model
            for model in self.models
            if (model.name == request.name if request.name else model.is_default)
            and request.version in (0, model.version)
        ]
        if not asked:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name!r}, version {request.version}")
        return pb.GetModelResponse(model=asked[0])

    def _fail_if_told(self, context: grpc.ServicerContext) -> None:
        if self._failure is None or len(self.requests) < self._calls_before_failure or self._failures_left <= 0:
            return
        self._failures_left -= 1
        if self._hint is not None:
            context.set_trailing_metadata((("retry-after-ms", self._hint),))
        context.abort(*self._failure)

    def _check_health(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert request == b""  # the service "": the server as a whole
        return self.health_answers.pop(0) if self.health_answers else b"\x08\x01"


def _handler(
    behaviour: Callable[[RequestT, grpc.ServicerContext], ResponseT], request: type[RequestT], response: type[ResponseT]
) -> grpc.RpcMethodHandler[RequestT, ResponseT]:
    return grpc.unary_unary_rpc_method_handler(behaviour, request.FromString, response.SerializeToString)


def _images(request: pb.ClassifyRequest) -> list[bytes]:
    if request.HasField("encoded"):
        return list(request.encoded.images)
    pixels = request.pixels
    size = pixels.height * pixels.width * pixels.channels
    return [b"%d" % pixels.data[start] for start in range(0, len(pixels.data), size)]


def _result(image: bytes, top_k: int) -> pb.Result:
    if image.startswith(b"bad"):
        return pb.Result(error=pb.ImageError(reason=pb.ImageError.REASON_INVALID, message="not an image"))
    if image.startswith(b"huge"):
        return pb.Result(error=pb.ImageError(reason=pb.ImageError.REASON_TOO_LARGE, message="too many pixels"))
    label = image.decode("latin-1")
    others = [pb.Class(label=f"not {label}", index=index, probability=0.25 / index) for index in range(1, top_k)]
    return pb.Result(classes=[pb.Class(label=label, index=0, probability=0.75), *others])


@contextlib.contextmanager
def fake_server(transport: str, **settings: Any) -> Iterator[FakeServer]:
    """A FakeServer whose `target` is reached over "grpc" or "http"."""
    with FakeServer(**settings) as server:
        if transport == "grpc":
            yield server
            return
        gateway = Gateway(server.target)
        server.target = gateway.target
        try:
            yield server
        finally:
            gateway.stop()


WAYS = ("native", "grpcio", "http")  # Covey's server by each of gRPC's fronts, and over HTTP


@contextlib.contextmanager
def covey_servers(way: str) -> Iterator[StartServer]:
    """Starts Covey's own servers in this process; `target` is as `way` reaches them."""
    with running_servers("native" if way == "http" else way) as start:

        def started(models: Path, **settings: Any) -> Server:
            server = start(models, **settings)
            if way == "http":
                server.target = f"http://127.0.0.1:{server.http_port}"
            return server

        yield started


def digits() -> pb.Model:
    """A model as a server describes one that it serves."""
    return pb.Model(
        name="digits",
        version=3,
        state=pb.Model.STATE_READY,
        is_default=True,
        info=pb.ModelInfo(
            name="digits",
            version=3,
            labels=[str(digit) for digit in range(10)],
            input=pb.ImageSpec(height=28, width=28, channels=1, resize=pb.ImageSpec.RESIZE_STRETCH),
            training=pb.Training(
                network="lenet",
                dataset="mnist",
                recipe="tutorial",
                epochs=5,
                seed=1,
                test_accuracy=0.98765,
                test_images=10_000,
                parameters=44_426,
            ),
            build=pb.Build(created=datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)),
        ),
        serving=pb.Serving(
            device="cpu",
            provider="CPUExecutionProvider",
            workers=2,
            threads=1,
            max_batch_size=64,
            max_message_bytes=67_108_864,
        ),
    )


def broken() -> pb.Model:
    """One whose file cannot be read."""
    return pb.Model(name="broken", version=1, state=pb.Model.STATE_REFUSED, reason="model.onnx is no ONNX file")


@pytest.fixture(params=["grpc", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    """Tests that ask for a scripted server run once over each."""
    return str(request.param)


@pytest.fixture
def server(transport: str) -> Iterator[ScriptedServer]:
    server = ScriptedServer(transport)
    server.models = [broken(), digits()]
    yield server
    server.stop()


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[covey.Client]:
    with covey.Client(server.target) as client:
        yield client
