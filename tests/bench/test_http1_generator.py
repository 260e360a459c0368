"""The HTTP/1.1 loop against the standard library's server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from bench import message_file
from bench.http1_generator import HttpLoop
from bench.load_generator import LoadResult

from covey_load.pool import LoadError
from covey_load.wire.sockets import Endpoint


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


def test_every_body_is_sent_in_turn_and_every_answer_counted() -> None:
    with serve(lambda body: (503, b"") if body == b"bad" else (200, bytes(100_000))) as (port, bodies):
        bodies_sent = [b"one", bytes(5000), b"bad"]
        with closing(HttpLoop(Endpoint("127.0.0.1", port), "/inference", bodies_sent, in_flight=4)) as loop:
            result = loop.run(seconds=0.3)
    assert result.calls == len(bodies) > 0
    counts = Counter(bodies)
    assert result.failures_by_status == ({"503": counts[b"bad"]} if counts[b"bad"] else {})
    assert max(counts.values()) - min(counts.values()) <= 1
    assert 0 < result.latency_p50_us <= result.latency_p99_us <= result.seconds * 1e6


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    message_file.write(tmp_path / "bodies", [b"one"])
    command = [sys.executable, "-m", "bench.http1_generator", "--path", "/inference", "--seconds", "0.1"]
    command += ["--messages", str(tmp_path / "bodies"), "--in-flight", "2"]
    with serve(lambda body: (200, b"answer")) as (port, bodies):
        finished = subprocess.run([*command, "--target", f"127.0.0.1:{port}"], capture_output=True, check=True)
    assert LoadResult(**json.loads(finished.stdout)).calls == len(bodies)
    nobody = subprocess.run([*command, "--target", "127.0.0.1:1"], capture_output=True, text=True, check=False)
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("http1_generator: no HTTP connection to 127.0.0.1:1: ")


def test_a_server_that_is_gone_ends_the_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            connection, _ = listener.accept()
            listener.close()  # nobody takes a new connection either
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = listener.getsockname()[1]
        with (
            closing(HttpLoop(Endpoint("127.0.0.1", port), "/", [b"one"], in_flight=1)) as loop,
            pytest.raises(LoadError, match="no HTTP connection"),
        ):
            loop.run(seconds=1)
        thread.join()
