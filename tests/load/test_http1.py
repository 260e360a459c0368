"""The HTTP/1.1 loop against the standard library's server."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from covey_load.channel import Order
from covey_load.pool import LoadError
from covey_load.processes import Generators
from covey_load.recording import Recording, record
from covey_load.wire.http1 import HttpRequest
from covey_load.wire.sockets import Endpoint


def post(port: int, bodies: list[bytes], in_flight: int = 1, seconds: float = 0.3) -> Recording:
    endpoint = Endpoint("127.0.0.1", port)
    requests = [HttpRequest(endpoint.authority, "/inference", body, number) for number, body in enumerate(bodies)]
    with Generators(1) as generators:
        order = Order(
            endpoint, requests, connections=in_flight, in_flight=in_flight, seconds=seconds, keep_answers=True
        )
        return record(generators, [order])


@contextmanager
def serve(answer: Callable[[bytes], tuple[int, bytes]]) -> Iterator[tuple[int, list[bytes]]]:
    """Answers POSTs to /inference; gives the port and the bodies that came."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == "/inference"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            code, content = answer(body)
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)  # apart from the head: the loop must put them together

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, bodies
        finally:
            server.shutdown()
            thread.join()


def test_every_body_is_sent_in_turn_and_every_answer_kept() -> None:
    with serve(lambda body: (503, b"") if body == b"bad" else (200, body * 20)) as (port, bodies):
        result = post(port, [b"one", bytes(5000), b"bad"], in_flight=4)
    assert result.calls == len(bodies) > 0
    counts = Counter(bodies)
    assert result.by_status()["HTTP 503"] == counts[b"bad"]
    assert max(counts.values()) - min(counts.values()) <= 1
    assert Counter(result.answers) == {(0, b"one" * 20): counts[b"one"], (1, bytes(100_000)): counts[bytes(5000)]}
    assert 0 < result.service_ms.min() <= result.service_ms.max() <= result.seconds * 1e3


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(LoadError, match=r"no HTTP connection to 127.0.0.1:1: "):
        post(1, [b"one"])


def test_a_server_that_is_gone_ends_the_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            listener.close()  # nobody takes a new connection either
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(LoadError, match="no HTTP connection"):
            post(listener.getsockname()[1], [b"one"], seconds=1)
        thread.join()
