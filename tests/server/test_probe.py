"""`covey-server --probe` against real servers: ready, gone, and over TLS."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from bench.processes import covey_server
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tests.certificates import Authority
from tests.conftest import WriteModel


def probe(*flags: str) -> tuple[int, str]:
    """Its exit code and what it said."""
    command = [sys.executable, "-m", "covey_server", "--probe", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_it_tells_whether_a_server_that_listens_everywhere_is_ready(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    with covey_server(tmp_path / "models", "native", tmp_path / "log", ("--host", "0.0.0.0")) as server:
        port = server.target.rpartition(":")[2]
        assert probe("--host", "0.0.0.0", "--grpc-port", port) == (0, "")
    code, said = probe("--host", "0.0.0.0", "--grpc-port", port)
    assert code == 1
    assert f"covey-server --probe: 127.0.0.1:{port} did not answer: UNAVAILABLE" in said


def test_a_server_that_is_not_ready(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """A health service that says so: what the server answers while it drains."""
    server = grpc.server(ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert probe("--grpc-port", str(port)) == (1, "covey-server --probe: the server runs and is not ready\n")
    finally:
        server.stop(0).wait()


def test_over_tls_the_metrics_tell(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path / "models")
    pair = Authority(tmp_path / "certificates").sign("localhost")
    tls = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    with covey_server(tmp_path / "models", "auto", tmp_path / "log", tls) as server:
        assert server.metrics_url is not None
        port = server.metrics_url.removesuffix("/metrics").rpartition(":")[2]
        assert probe(*tls, "--metrics-port", port) == (0, "")
    code, said = probe(*tls, "--metrics-port", port)
    assert code == 1
    assert f"covey-server --probe: 127.0.0.1:{port} did not answer: [Errno 111]" in said
