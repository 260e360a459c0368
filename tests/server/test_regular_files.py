"""Whatever lies in the place of a file: regular files are read, everything else is refused by name, at once."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import WriteModel

from covey_server.engine import Engine
from covey_server.errors import InvalidConfiguration, RefusedModel
from covey_server.regular_files import read_regular
from covey_server.security.tokens import Tokens


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _make_socket,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_as_a_model_and_as_tokens(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    KINDS[kind](path)
    with pytest.raises(RefusedModel, match=f"model.onnx: cannot be read: it is {kind}, expected a regular file"):
        Engine(path)
    with pytest.raises(InvalidConfiguration, match=f"it cannot be read: it is {kind}, expected a regular file"):
        Tokens(path)


def test_no_more_than_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    with pytest.raises(OSError, match="it has 5 bytes, at most 4 are read"):
        read_regular(path, 4)


def test_a_file_larger_than_a_message_can_be_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(100 * 2**30)
    with pytest.raises(RefusedModel, match=r"has 107,374,182,400 bytes; an ONNX file.* at most 2,147,483,647"):
        Engine(path)


def test_a_link_to_a_model_is_followed(tmp_path: Path, write_echo_model: WriteModel) -> None:
    link = tmp_path / "link.onnx"
    link.symlink_to(write_echo_model(tmp_path))
    assert Engine(link).classes == 10
