"""Asks a server over HTTP: as http.client does, or with bytes of one's own."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TIMEOUT_S = 20
PIXELS = np.random.default_rng(18).integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)  # of the model `echo`
EXPECTED = PIXELS.reshape(20, -1)[:, :10].astype(np.float32) * np.float32(1 / 255)


@dataclass(frozen=True)
class Answer:
    """What came back. Headers' names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The text of a problem; its form is checked."""
        assert self.headers["content-type"] == "application/problem+json"
        found = self.json
        assert found["status"] == self.status
        assert found["type"] == "about:blank"
        assert found["title"]
        assert found["request_id"] == self.headers["x-request-id"]
        return str(found["detail"])


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        return ask_by(connection, method, path, body, headers)
    finally:
        connection.close()


def ask_by(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:  # fmt: skip
    """One request on a connection that may be used again."""
    connection.request(method, path, body, dict(headers or {}))
    return _read(connection.getresponse())


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    """A plain connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as found:
        yield found


def read_answer(connection: socket.socket, method: str = "GET") -> Answer:
    """The next answer on a plain connection, which has to end with it, or to be read no further."""
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return _read(response)


def send(port: int, data: bytes) -> Answer:
    """The answer to these bytes."""
    with connected(port) as connection:
        connection.sendall(data)
        return read_answer(connection)


def is_closed(connection: socket.socket) -> bool:
    """Waits until the server has closed its side; whatever it said before is dropped."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def large_infer() -> bytes:
    """A request whose answer, 2.4 MB, does not fit into the network's buffers."""
    size = 960_000
    images = {"name": "images", "shape": [size // 16, 4, 4, 1], "datatype": "UINT8"}
    inputs = [images | {"parameters": {"binary_data_size": size}}]
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    lengths = b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n" % (len(text), len(text) + size)
    return b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\n" + lengths + text + bytes(size)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image file of one image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


def _read(response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
