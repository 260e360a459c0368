"""The Open Inference Protocol over HTTP, against the standard library's server: what it sends, and what it makes of
answers."""

from __future__ import annotations

import json
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.certificates import Authority, Pair

from covey import TLS
from covey.errors import CoveyError, InvalidInput, ServerError, Unavailable, UnknownModel
from covey_load.plan import Plan, ProtocolName
from covey_load.runner import run

MODEL = {"name": "m", "platform": "test", "inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 4, 4, 1]}]}
Infer = Callable[[dict[str, str], bytes], int]


@contextmanager
def serve(
    infer: Infer,
    *,
    extensions: tuple[str, ...] = (),
    model: dict[str, Any] = MODEL,
    chunked: bool = False,
    pair: Pair | None = None,
) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            pages = {"/v2": {"name": "stub", "version": "1", "extensions": list(extensions)}, "/v2/models/m": model}
            page = pages.get(self.path)
            self._answer(200 if page else 404, json.dumps(page or {"error": "no such model"}).encode())

        def do_POST(self) -> None:
            assert self.path == "/v2/models/m/infer"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(infer(headers, body), b'{"outputs": []}')

        def _answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            if chunked:
                self.send_header("Transfer-Encoding", "chunked")
                content = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (content[:5], content[5:], b""))
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if pair is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def plan(target: str, **changes: Any) -> Plan:
    options: dict[str, Any] = {
        "models": {"m": 1.0},
        "concurrencies": (3,),
        "calls": 30,
        "warm_up_s": 0,
        "images_per_call": 2,
    } | changes
    return Plan(target, protocol=ProtocolName.OIP_HTTP, **options)


@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_tensors_travel_as_json(chunked: bool) -> None:
    shapes: list[tuple[int, ...]] = []

    def infer(headers: dict[str, str], body: bytes) -> int:
        assert headers["content-type"] == "application/json"
        (tensor,) = json.loads(body)["inputs"]
        assert (tensor["name"], tensor["datatype"]) == ("x", "UINT8")
        shapes.append(np.array(tensor["data"], np.uint8).reshape(tensor["shape"]).shape)
        return 200

    with serve(infer, chunked=chunked) as target:
        report = run(plan(target))
    (measured,) = report.runs
    assert (measured.calls, measured.response.count, measured.images, measured.errors) == (30, 30, 60, {})
    assert shapes == [(2, 4, 4, 1)] * 31  # and the one that was tried before
    assert report.server == {"server": "stub 1", "model": "m", "platform": "test", "tensors": "JSON numbers"}
    assert (measured.timing, measured.generator.connections) == (None, 3)


def test_tensors_travel_as_bytes_where_the_server_can() -> None:
    def infer(headers: dict[str, str], body: bytes) -> int:
        length = int(headers["inference-header-content-length"])
        (tensor,) = json.loads(body[:length])["inputs"]
        assert tensor == {
            "name": "x",
            "datatype": "UINT8",
            "shape": [2, 4, 4, 1],
            "parameters": {"binary_data_size": 32},
        }
        assert len(body) - length == 32
        return 200

    with serve(infer, extensions=("binary_tensor_data",)) as target:
        (measured,) = run(plan(target)).runs
    assert (measured.response.count, measured.errors) == (30, {})


def test_the_certificate_may_be_of_another_name_than_the_target(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with serve(lambda headers, body: 200, pair=authority.sign("inner.name")) as target:
        (measured,) = run(plan(target, tls=TLS(authority.certificate, server_name="inner.name"))).runs
        assert (measured.response.count, measured.errors) == (30, {})
        with pytest.raises(Unavailable, match="certificate verify failed"):
            run(plan(target, tls=TLS(authority.certificate)))


def test_failures_are_counted_by_status_and_late_calls_given_up() -> None:
    released = threading.Event()
    numbers = iter(range(-1, 1_000))
    lock = threading.Lock()

    def infer(headers: dict[str, str], body: bytes) -> int:
        with lock:
            number = next(numbers)
        if number == 5:
            released.wait(30)
        return 503 if number % 10 == 3 else 200

    with serve(infer) as target:
        (measured,) = run(plan(target, deadline_ms=700)).runs
        released.set()
    assert Counter(measured.errors) == {"HTTP 503": 3, "DEADLINE_EXCEEDED": 1}
    assert measured.calls == 30


def test_an_open_loop_replaces_connections_whose_call_it_gave_up() -> None:
    """HTTP/1.1 has no other way to end a call; both connections are lost at the first deadline."""
    released = threading.Event()
    numbers = iter(range(-1, 1_000))
    lock = threading.Lock()
    lost, others = set[int](), set[int]()  # threads of the server, one for each connection

    def infer(headers: dict[str, str], body: bytes) -> int:
        with lock:
            number = next(numbers)
            if number >= 0:  # the first call is made before the load
                (lost if number < 2 else others).add(threading.get_ident())
        if number in (0, 1):
            released.wait(30)
        return 200

    with serve(infer) as target:
        open_loop = plan(target, concurrencies=(), rates=(50,), calls=None, seconds=1, connections=2, deadline_ms=300)
        (measured,) = run(open_loop).runs
        released.set()
    assert len(lost) == 2
    assert others - lost, "calls went by connections that were opened later"
    assert measured.response.count > 0
    assert set(measured.errors) == {"DEADLINE_EXCEEDED"}


@pytest.mark.parametrize(
    ("model", "name", "error", "sentence"),
    [
        (MODEL, "other", UnknownModel, "/v2/models/other with HTTP 404"),
        (MODEL, "", InvalidInput, "--protocol oip-http needs the model's name"),
        ({"name": "m", "inputs": []}, "m", InvalidInput, "takes 0 inputs; a load test knows one"),
        (
            {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 4]}]},
            "m",
            InvalidInput,
            r"takes 'x' FP32 \[-1, -1, 4\]; expected a batch of one size",
        ),
    ],
)
def test_what_the_server_cannot_be_asked_is_said_before_the_load(
    model: dict[str, Any], name: str, error: type[CoveyError], sentence: str
) -> None:
    with serve(lambda headers, body: 200, model=model) as target, pytest.raises(error, match=sentence):
        run(plan(target, models={name: 1.0}))


def test_a_request_that_fails_alone_is_not_sent_thousands_of_times() -> None:
    sentence = "answers /v2/models/m/infer with HTTP 500"
    with serve(lambda headers, body: 500) as target, pytest.raises(ServerError, match=sentence):
        run(plan(target))
    with pytest.raises(Unavailable, match=r"no HTTP server answers at 127\.0\.0\.1:1 "):
        run(plan("127.0.0.1:1"))
