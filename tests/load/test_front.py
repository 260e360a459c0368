"""What speaks for a server is found out by its first settings."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from bench.processes import covey_server
from tests.conftest import WriteModel

from covey_load.observation import Front, find_front
from covey_load.wire.frames import ACK, SETTINGS, WINDOW_UPDATE, frame, setting, word
from covey_load.wire.sockets import Endpoint


def _endpoint(target: str) -> Endpoint:
    host, _, port = target.rpartition(":")
    return Endpoint(host, int(port))


@pytest.mark.parametrize(("front", "expected"), [("native", Front.OTHER), ("grpcio", Front.GRPCIO)])
def test_the_fronts_of_a_real_server(tmp_path: Path, write_echo_model: WriteModel, front: str, expected: Front) -> None:
    write_echo_model(tmp_path / "models")
    with covey_server(tmp_path / "models", front, tmp_path / "log") as server:
        assert find_front(_endpoint(server.target)) is expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", Front.UNKNOWN),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Front.UNKNOWN),
        (frame(SETTINGS, 0, 0, b""), Front.OTHER),
        (frame(WINDOW_UPDATE, 0, 0, word.pack(9)) + frame(SETTINGS, 0, 0, setting.pack(0xFE03, 1)), Front.GRPCIO),
        (frame(SETTINGS, ACK, 0, b""), Front.UNKNOWN),
    ],
)
def test_what_a_server_sends_first(sent: bytes, expected: Front) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(sent)
                connected.shutdown(socket.SHUT_WR)
                while connected.recv(4096):
                    pass

        serving = threading.Thread(target=serve)
        serving.start()
        assert find_front(Endpoint("127.0.0.1", listening.getsockname()[1])) is expected
        serving.join()


def test_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert find_front(Endpoint("127.0.0.1", port)) is Front.UNKNOWN
