"""What becomes of a front that cannot open, or has stopped. No server is around it."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from covey_server.errors import InvalidConfiguration
from covey_server.fronts import Front
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native import NativeFront
from covey_server.security import Security

KINDS: dict[str, type[Front]] = {"native": NativeFront, "grpcio": GrpcioFront}


def open_front(kind: str, port: int = 0) -> Front:
    return KINDS[kind](f"127.0.0.1:{port}", [], [], 2**20, 2**20, Security())  # type: ignore[call-arg]


@pytest.mark.parametrize("folder", ["x" * 90, "not there"])
def test_without_a_place_for_its_socket_nothing_is_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    temporary = tmp_path / folder
    if folder != "not there":
        temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
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
