"""What docs/http.md gives nginx to read, before a server and another one that stops."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.clients.test_docs_http import PAGE, address, place

__all__ = ["address", "place"]  # fixtures
_START_S = 20
_OTHERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Stopping(BaseHTTPRequestHandler):
    """Refuses all requests, as a server that stops."""

    asked = 0

    def do_GET(self) -> None:
        Stopping.asked += 1
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_error(503)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def nginx(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket on which it listens."""
    if shutil.which("nginx") is None:
        pytest.skip("needs nginx (Debian: nginx-light)")
    block = re.search(r"^```nginx\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    folder = tmp_path_factory.mktemp("nginx")
    folders = " ".join(f"{each}_temp_path {folder}/{each};" for each in _OTHERS)
    with ThreadingHTTPServer(("127.0.0.1", 0), Stopping) as stopping:
        threading.Thread(target=stopping.serve_forever).start()
        text = block[1].replace("a:8000", f"127.0.0.1:{stopping.server_port}").replace("b:8000", address)
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; {'user root; ' * (os.geteuid() == 0)}events {{}}\n"  # its folders are ours
            f"http {{ access_log off; {folders}\n{text.replace('listen 80', f'listen unix:{folder}/socket')} }}\n"
        )
        with subprocess.Popen(["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")]) as process:
            give_up = time.monotonic() + _START_S
            while not (folder / "socket").is_socket() and process.poll() is None and time.monotonic() < give_up:
                time.sleep(0.01)
            yield folder / "socket"
            process.terminate()
        stopping.shutdown()


@pytest.fixture
def connection(nginx: Path) -> Iterator[http.client.HTTPConnection]:
    found = http.client.HTTPConnection("localhost", timeout=_START_S)
    found.sock = socket.socket(socket.AF_UNIX)
    found.sock.connect(str(nginx))
    yield found
    found.close()


def test_what_one_server_refuses_the_other_answers(connection: http.client.HTTPConnection, place: Path) -> None:
    asked = Stopping.asked
    for _ in range(4):  # by turns
        connection.request("POST", "/v1/models/animals/classify?top_k=1", (place / "cat.jpg").read_bytes())
        answer = connection.getresponse()
        assert (answer.status, b'"label":"cat"' in answer.read()) == (200, True)
    assert Stopping.asked > asked


def test_request_ids_and_large_bodies_pass(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/v1/models/animals/classify", bytes(3 << 20), {"X-Request-Id": "mine"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["X-Request-Id"]) == (422, "mine")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_events_are_not_held_back(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/v1/watch")
    answer = connection.getresponse()
    lines = [answer.readline() for _ in range(4)]
    assert lines[0].startswith(b"retry: ")
    assert any(line.startswith(b"data: ") for line in lines)
