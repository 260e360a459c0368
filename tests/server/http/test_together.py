"""HTTP and gRPC together: one queue, one set of limits; and pages in a real browser."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import EXPECTED, PIXELS, ask, connected, png, read_answer
from tests.waiting import wait_until

from covey_proto.v1 import classifier_pb2 as pb

CLASSIFY = "/v1/models/echo/classify?top_k=1"
HEAD = b"POST /v1/models/echo/classify?top_k=1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
CHROMIUM = shutil.which("chromium")


def test_callers_of_both_share_a_batch(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_delay_us=500_000, max_batch_size=2)  # waits for the second image
    with ThreadPoolExecutor(1) as others:
        by_http = others.submit(ask, server.http_port, "POST", CLASSIFY, png(PIXELS[0]))
        by_grpc = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=PIXELS[1].tobytes()), top_k=1))
    assert by_grpc.timing.batch_size == by_http.result().json["timing"]["batch_size"] == 2
    assert by_grpc.results[0].classes[0].index == EXPECTED[1].argmax()
    assert by_http.result().json["results"][0]["classes"][0]["index"] == EXPECTED[0].argmax()


def test_a_full_server_says_when_to_try_again(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_delay_us=10_000_000, max_batch_size=2, max_calls=1)
    body = png(PIXELS[0])
    with connected(server.http_port) as waiting:
        waiting.sendall(HEAD % len(body) + body)
        wait_until(lambda: bool(server.app._batcher.waiting_images()))
        answer = ask(server.http_port, "POST", CLASSIFY, body)
        assert (answer.status, answer.json["grpc_status"]) == (429, "RESOURCE_EXHAUSTED")
        assert int(answer.headers["retry-after"]) >= 1
        assert int(answer.headers["retry-after-ms"]) >= 1
        server.app._batcher.close()  # the one that waits is computed now
        assert read_answer(waiting).status == 200


@pytest.mark.parametrize("size", range(1, 64, 7))
def test_however_a_request_is_cut_it_is_the_same(server: Server, size: int) -> None:
    body = png(PIXELS[2])
    request = HEAD % len(body) + body
    chunked = request.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunked = chunked[: -len(body)] + b"".join(b"1\r\n%c\r\n" % each for each in body) + b"0\r\n\r\n"
    with connected(server.http_port) as connection:
        for whole in (request, chunked):
            for start in range(0, len(whole), size):
                connection.sendall(whole[start : start + size])
            answer = read_answer(connection)
            assert answer.json["results"][0]["classes"][0]["index"] == EXPECTED[2].argmax()


def test_a_batch_that_hangs_keeps_no_other_caller_waiting(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """It runs on the thread that takes requests, as a short one is expected to: another thread takes over."""
    write_echo_model(tmp_path, hangs_at=255, hang_turns=800_000)  # for half a second or more
    server = start_server(tmp_path)
    shape = '"name": "images", "shape": [1, 4, 4, 1], "datatype": "UINT8"'
    body = f'{{"inputs": [{{{shape}, "data": [255{",0" * 15}]}}]}}'.encode()
    with connected(server.http_port) as slow:
        slow.sendall(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: server.app._admission.calls == 1)
        for _ in range(3):
            assert ask(server.http_port, "GET", "/healthz").status == 200
        assert server.app._admission.calls == 1  # it still runs
        assert read_answer(slow).status == 200


class _Page(http.server.BaseHTTPRequestHandler):
    """Classifies an image by fetch, and writes what came of it into itself."""

    port = 0

    def do_GET(self) -> None:
        pixels = ", ".join(map(str, png(PIXELS[3])))
        page = f"""<p id=found>nothing</p><script>
            fetch("http://127.0.0.1:{self.port}{CLASSIFY}", {{method: "POST", body: new Uint8Array([{pixels}]),
                   headers: {{"Content-Type": "image/png", "X-Request-Id": "of-a-page"}}}})
                .then(answer => answer.json().then(found => answer.headers.get("X-Request-Id") + " "
                                                            + found.results[0].classes[0].label))
                .catch(error => "refused: " + error.name)
                .then(text => document.getElementById("found").textContent = text);
            </script>"""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page_port() -> Iterator[int]:
    """Of a server that has the page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as pages:
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        yield int(pages.server_address[1])
        pages.shutdown()
        thread.join()


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_lets_pages_of_allowed_origins_call(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, page_port: int
) -> None:
    write_echo_model(tmp_path / "models")
    server = start_server(tmp_path / "models", cors_origin=f"http://127.0.0.1:{page_port}")
    _Page.port = server.http_port
    best = int(EXPECTED[3].argmax())
    for host, expected in (("127.0.0.1", f"of-a-page class {best}"), ("localhost", "refused: TypeError")):
        command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={tmp_path / host}", "--virtual-time-budget=20000", "--dump-dom"]
        run = subprocess.run(
            [*command, f"http://{host}:{page_port}/"], capture_output=True, text=True, timeout=120, check=False
        )
        assert f'<p id="found">{expected}</p>' in run.stdout, (run.stdout, run.stderr[-2000:])
