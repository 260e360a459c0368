"""What becomes of a front that cannot open, or has stopped. No server is around it."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from covey_server.calls.service import Services
from covey_server.errors import InvalidConfiguration
from covey_server.fronts import Front, private_socket
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native import NativeFront
from covey_server.fronts.security import Security

KINDS: dict[str, Callable[..., Front]] = {"native": NativeFront, "grpcio": GrpcioFront}


def open_front(kind: str, port: int = 0) -> Front:
    services = Services((), begin=lambda inline: None, written=lambda count, caller: None)
    return KINDS[kind](f"127.0.0.1:{port}", services, 2**20, 2**20, Security())


@pytest.mark.parametrize("folder", ["x" * 90, "not there"])
def test_without_a_place_for_its_socket_nothing_is_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    temporary = tmp_path / folder
    if folder != "not there":
        temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(private_socket, "IS_ABSTRACT", False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(
        InvalidConfiguration, match=r"needs a socket in the temporary folder: .*; set TMPDIR to a folder"
    ):
        open_front("native", port)
    socket.create_server(("127.0.0.1", port)).close()
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize("kind", KINDS)
def test_after_its_end_it_may_be_told_of_the_servers_state(kind: str) -> None:
    front = open_front(kind)
    front.start()
    front.stop(0)
    front.set_live(False)
    front.set_ready(False)


def test_nothing_on_disk_holds_the_native_front_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tidier of the temporary folder once took health, reflection and streams away."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    front = open_front("native")
    front.start()
    front.set_ready(True)
    try:
        assert list(tmp_path.iterdir()) == []
        with grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            assert check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
    finally:
        front.stop(1)


def test_what_killed_servers_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def folder(name: str, mode: int = 0o700) -> Path:
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        return tmp_path / name

    with socket.socket(socket.AF_UNIX) as dead, socket.socket(socket.AF_UNIX) as other:
        dead.bind(str(folder("covey-dead") / "grpcio.sock"))
        other.bind(str(folder("foreign") / "grpcio.sock"))
    (folder("covey-notes") / "grpcio.sock").write_text("no socket")
    with socket.socket(socket.AF_UNIX) as more:
        more.bind(str(folder("covey-more") / "grpcio.sock"))
    (tmp_path / "covey-more" / "file").touch()
    (tmp_path / "covey-link").symlink_to(tmp_path / "foreign")
    folder("covey-empty")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(folder("covey-alive") / "grpcio.sock"))
        alive.listen()
        before = {each.name for each in tmp_path.iterdir()}
        with caplog.at_level(logging.INFO):
            private_socket.sweep()
    assert before - {each.name for each in tmp_path.iterdir()} == {"covey-dead"}
    assert (tmp_path / "foreign" / "grpcio.sock").exists()
    assert "covey-dead, which a server that was killed had left" in caplog.text
