"""A real server in this process, on free ports, once for each front."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.conftest import WriteModel

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.app import App
from covey_server.config import Config


class Server:
    """A running App and a channel to it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.target = f"127.0.0.1:{app.front.port}"
        self.metrics_url = f"http://127.0.0.1:{app.metrics_port}/metrics"
        self.http_port = 0 if app.http is None else app.http.port
        self.channel = grpc.insecure_channel(self.target, options=[("grpc.max_receive_message_length", -1)])

    def classify(self, request: pb.ClassifyRequest, timeout_s: float | None = 20.0) -> pb.ClassifyResponse:
        call = self.channel.unary_unary(
            "/covey.v1.Classifier/Classify",
            request_serializer=pb.ClassifyRequest.SerializeToString,
            response_deserializer=pb.ClassifyResponse.FromString,
        )
        return call(request, timeout=timeout_s)

    def ask(self, method: str, payload: bytes) -> bytes:
        """Calls a method of the Classifier with bytes."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(f"/covey.v1.Classifier/{method}")
        return call(payload, timeout=20)

    def error(self, request: pb.ClassifyRequest) -> tuple[grpc.StatusCode, str]:
        """The status a request fails with."""
        with pytest.raises(grpc.RpcError) as caught:
            self.classify(request)
        return caught.value.code(), caught.value.details() or ""

    def wait_until_idle(self) -> None:
        """Until no worker runs a batch: they count it after its answers have left."""
        batcher = self.app._batcher
        while batcher.idle_workers + batcher._idle_reserves < batcher._workers:
            time.sleep(0.0005)


StartServer = Callable[..., Server]


@pytest.fixture(scope="module", params=["native", "grpcio"])
def front(request: pytest.FixtureRequest) -> str:
    """Every test that asks for a server runs once on each front."""
    return str(request.param)


@contextlib.contextmanager
def running_servers(front: str) -> Iterator[StartServer]:
    """Starts servers on free ports; they are stopped at the end."""
    servers: list[Server] = []

    def start(models: Path, **settings: Any) -> Server:
        ports_and_front: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0, "front": front}
        config = Config(models=models, **(ports_and_front | settings))
        server = Server(App(config))
        servers.append(server)
        server.app.start()
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.channel.close()
            server.app.stop()


@pytest.fixture
def start_server(front: str) -> Iterator[StartServer]:
    """For tests that need a server of their own."""
    with running_servers(front) as start:
        yield start


@pytest.fixture(scope="module")
def server(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """One server for all tests of a module: `echo` (4x4x1, 10 classes, the default), `colour` (2x3x3, 18 classes,
    version 7), and `skewed`, which is refused."""
    models = tmp_path_factory.mktemp("models")
    write_standard_models(models, write_echo_model)
    with running_servers(front) as start:
        yield start(models, default_model="echo", max_batch_size=8)


def write_standard_models(models: Path, write_echo_model: WriteModel) -> None:
    """The models of the fixture `server`."""
    write_echo_model(models, "echo")
    write_echo_model(models, "colour", version=7, shape=(2, 3, 3), classes=18)
    write_echo_model(models, "skewed", wrong_golden=True)
