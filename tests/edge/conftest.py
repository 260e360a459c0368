"""A native server with an edge before it, both as processes. Without nginx on this machine tests are skipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from bench.edges import Edge, edge_before, nginx_is_there
from bench.processes import Server, covey_server, fetch
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.server.conftest import write_standard_models

import covey

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Guarded:
    """A server, the edge before it, and who signed the edge's certificate."""

    server: Server
    edge: Edge
    authority: Authority
    folder: Path

    def channel(self) -> grpc.Channel:
        """To the edge."""
        credentials = grpc.ssl_channel_credentials(self.authority.certificate.read_bytes())
        return grpc.secure_channel(self.edge.target, credentials, [("grpc.use_local_subchannel_pool", 1)])

    def client(self, **options: object) -> covey.Client:
        """The SDK, to the edge, which tries nothing twice."""
        options = {"tls": covey.TLS(self.authority.certificate), "retries": 0, **options}
        return covey.Client(self.edge.target, **options)  # type: ignore[arg-type]

    def refused(self, reason: str) -> float:
        """Calls that the edge has refused so far, as it tells Prometheus."""
        assert self.edge.metrics_url is not None
        return figure(fetch(self.edge.metrics_url), f'covey_refused_total{{reason="{reason}"}}')


StartEdge = Callable[..., Guarded]


def figure(page: str, series: str) -> float:
    """The value of a series on a page of metrics."""
    (value,) = [line.split()[-1] for line in page.splitlines() if line.rpartition(" ")[0] == series]
    return float(value)


@pytest.fixture(scope="session")
def nginx() -> None:
    """Skips where there is none."""
    if not nginx_is_there():
        pytest.skip("needs nginx (Debian: nginx-light)")


@pytest.fixture(scope="module")
def server(nginx: None, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """Of the standard models, on the native front."""
    folder = tmp_path_factory.mktemp("server")
    write_standard_models(folder / "models", write_echo_model)
    flags = ["--default-model", "echo", "--allow-management"]
    with covey_server(folder / "models", "native", folder / "log", flags) as started:
        yield started


@pytest.fixture
def start_edge(server: Server, tmp_path: Path) -> Iterator[StartEdge]:
    """Starts an edge with these settings before the server, or another one."""
    with contextlib.ExitStack() as stack:

        def start(settings: Mapping[str, str] | None = None, before: Server = server) -> Guarded:
            authority = Authority(tmp_path / "certificates")
            edge = stack.enter_context(
                edge_before(before.target, before.metrics_url, *authority.sign(HOST), tmp_path, settings)
            )
            return Guarded(before, edge, authority, tmp_path)

        yield start


@pytest.fixture(scope="module")
def guarded(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One edge with the settings that are the default, for all tests of a module."""
    folder = tmp_path_factory.mktemp("edge")
    authority = Authority(folder / "certificates")
    with edge_before(server.target, server.metrics_url, *authority.sign(HOST), folder) as edge:
        yield Guarded(server, edge, authority, folder)
