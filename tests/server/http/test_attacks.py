"""Hostile callers over HTTP, at a small scale: each is ended by a limit, and the next caller is answered."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import WriteModel
from tests.server.conftest import Server, running_servers
from tests.server.http.asking import (
    EXPECTED,
    PIXELS,
    ask,
    connected,
    is_closed,
    large_infer,
    png,
    read_answer,
    send,
)
from tests.waiting import wait_until

from covey_server.calls.status import Status
from covey_server.fronts.http import limits
from covey_server.fronts.http.received import ReceivedCall

POST = b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\n"
CLASSIFY = "/v1/models/echo/classify"
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture(scope="module")
def server(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """With small limits."""
    models = tmp_path_factory.mktemp("models")
    write_echo_model(models)
    with running_servers(front) as start:
        yield start(models, max_message_bytes=MAX_MESSAGE_BYTES, max_bytes=4 << 20)


@pytest.fixture(autouse=True)
def others_are_served(server: Server) -> Iterator[None]:
    """Whatever a test did, nothing of it is left."""
    yield
    assert ask(server.http_port, "POST", "/v1/models/echo/classify", png(PIXELS[0])).status == 200
    assert server.app.http is not None
    assert server.app.http.unfinished_bytes == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits of time that a test can wait for."""
    for name in ("HEAD_S", "BODY_S", "UNREAD_S", "LINGER_S"):
        monkeypatch.setattr(limits, name, 0.2)
    monkeypatch.setattr(limits, "SLOWEST_BYTES_S", 1 << 30)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("data", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_slow_heads_are_given_up(server: Server, data: bytes) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(data)
        if data:
            answer = read_answer(connection)
            assert (answer.status, answer.error) == (408, "the request's line and headers did not come in time")
        assert is_closed(connection)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "length", [b"Content-Length: 1000\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_slow_bodies_are_given_up(server: Server, length: bytes) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(POST + length)
        answer = read_answer(connection)
        assert (answer.status, answer.error) == (408, "the request's body did not come in time")
        assert is_closed(connection)


@pytest.mark.usefixtures("impatient")
def test_a_body_that_keeps_trickling_gets_no_more_time(server: Server) -> None:
    """The time runs from the body's first byte, not from the latest."""
    with connected(server.http_port) as connection:
        connection.sendall(POST + b"Content-Length: 100000\r\n\r\n")
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):  # the server closes it
                for _ in range(10_000):
                    connection.sendall(b"a")
                    if ended.wait(0.01):
                        return

        sender = threading.Thread(target=trickle)
        sender.start()
        answer = read_answer(connection)
        ended.set()
        sender.join(10)
        assert (answer.status, answer.error) == (408, "the request's body did not come in time")


@pytest.mark.usefixtures("impatient")
def test_who_reads_late_may_go_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that did not fit into the network's buffers leaves no limit of time behind."""
    monkeypatch.setattr(limits, "UNREAD_S", 1.0)
    http = server.app.http
    assert http is not None
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", server.http_port))
        connection.sendall(large_infer())
        wait_until(lambda: server.app._admission.answer_bytes > 0)
        assert len(read_answer(connection).body) > 2_400_000
        (kept,) = http._connections
        wait_until(lambda: math.isinf(kept.deadline_s))
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(connection).status == 200


@pytest.mark.usefixtures("impatient")
def test_unread_answers_are_given_up(server: Server) -> None:
    with connected(server.http_port) as connection:
        ask_for_much = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
        try:
            while True:  # ends once the server takes nothing more, and then closes
                connection.sendall(ask_for_much)
        except OSError:
            pass
    assert server.app.http is not None


def test_a_huge_body_is_refused_before_it_comes(server: Server) -> None:
    answer = send(server.http_port, POST + b"Content-Length: 1048577\r\n\r\n")
    assert (answer.status, "at most 1,048,576 are taken here" in answer.error) == (413, True)
    answer = send(server.http_port, POST + b"Content-Length: 99999999999999999999\r\n\r\n")
    assert answer.status == 400


def test_who_sends_all_of_a_huge_body_first_is_told_too(server: Server) -> None:
    answer = ask(server.http_port, "POST", "/v1/models/echo/classify", bytes(20 << 20))
    assert answer.status == 413


def test_bodies_sent_ahead_do_not_add_up(front: str, tmp_path: Path, write_echo_model: WriteModel) -> None:
    """Those that wait behind a slow request count like those that are not whole."""
    write_echo_model(tmp_path)
    slow = png(PIXELS[0])
    with running_servers(front) as start:
        server = start(
            tmp_path, max_message_bytes=MAX_MESSAGE_BYTES, max_bytes=4 << 20, max_delay_us=10_000_000, max_batch_size=64
        )
        http = server.app.http
        assert http is not None
        connections = [connected(server.http_port) for _ in range(http.limits.max_unfinished_bytes // (1 << 20) + 2)]
        for each in connections:
            ahead = POST + b"Content-Length: 1048576\r\n\r\n" + bytes(1 << 20)
            with contextlib.suppress(ConnectionError):  # it was the one that had to go
                each.__enter__().sendall(POST + b"Content-Length: %d\r\n\r\n" % len(slow) + slow + ahead)
        wait_until(lambda: http.closed["unfinished"] > 0 and http.unfinished_bytes <= http.limits.max_unfinished_bytes)
        for each in connections:
            each.__exit__(None, None, None)
        server.app._batcher.close()  # what waits is computed now


def test_little_is_read_at_a_time_of_a_body_in_tiny_chunks(server: Server) -> None:
    """64 KB of them take 20 ms, for which all other connections would wait."""
    front = server.app.http
    assert front is not None
    with connected(server.http_port) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n" + 100 * b"1\r\na\r\n")
        wait_until(lambda: front.unfinished_bytes == 100)
        (reader,) = [each.reader for each in front._connections if each.reader.body_bytes]
        assert reader.read_bytes == limits.TINY_READ_BYTES
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        wait_until(lambda: front.unfinished_bytes == 100 + 0x10000)
        assert reader.read_bytes == limits.READ_BYTES
    wait_until(lambda: front.unfinished_bytes == 0)


def test_chunks_without_end_are_refused_at_the_limit(server: Server) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        for _ in range(17):
            connection.sendall(chunk)
        assert read_answer(connection).status == 413


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Trailer: " + b"x" * 200_000,
        b"GET /" + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 200_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000,
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    ],
)
def test_heads_and_framing_without_end_are_refused(server: Server, data: bytes) -> None:
    assert send(server.http_port, data).status in (400, 431)


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"Content-Length: 5, 5\r\n\r\nabcde",
        b"Content-Length: +5\r\n\r\nabcde",
        b"Content-Length: -5\r\n\r\nabcde",
        b"Content-Length: 0x5\r\n\r\nabcde",
        b"Content-Length : 5\r\n\r\nabcde",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n",
        b"X: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X y: a\r\n\r\n",
        b": a\r\n\r\n",
        b"Host: b\r\n\r\n",
        b"Authorization: a\r\nAuthorization: b\r\n\r\n",
        b"X: a\rContent-Length: 3\r\n\r\nabc",
    ],
)
def test_what_two_servers_might_read_differently_is_refused(server: Server, fields: bytes) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(POST + fields + b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = read_answer(connection, "POST")
        assert answer.status in (400, 501), (fields, answer)
        if answer.status == 501 or "cannot be read" in answer.error:
            assert answer.headers["connection"] == "close"
            assert connection.recv(65536) == b""  # what came behind it is no request


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/3.7\r\n\r\n",
        b"SUMMON /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no host
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v1/models/echo/classify HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xc3\xbc HTTP/1.1\r\nHost: a\r\n\r\n",
        bytes(range(256)),
    ],
)
def test_what_is_no_request_is_refused(server: Server, data: bytes) -> None:
    assert send(server.http_port, data).status in (400, 405)


@pytest.mark.parametrize("name", [b"gzip", b"deflate", b"br", b"gzip, gzip", b"GZIP"])
def test_compressed_bodies_are_refused_unread(server: Server, name: bytes) -> None:
    answer = send(server.http_port, POST + b"Content-Encoding: " + name + b"\r\nContent-Length: 100\r\n\r\n")
    assert (answer.status, "are not read here" in answer.error) == (415, True)


def test_nothing_of_a_request_becomes_a_header(server: Server) -> None:
    wrong = {"X-Request-Id": "a\tb", "Origin": "http://127.0.0.1\t.example"}
    answer = ask(server.http_port, "GET", "/v1/models/%0d%0aX-Evil:%201", headers=wrong)
    assert answer.status == 403
    answer = ask(server.http_port, "GET", "/v1/models/%0d%0aX-Evil:%201")
    assert (answer.status, "x-evil" in answer.headers) == (404, False)


@pytest.mark.parametrize("value", [b'"' + b";" * 60_000, b"*=x;" * 15_000, b'"\\"' * 20_000])
def test_a_content_type_costs_no_more_than_its_length(server: Server, value: bytes) -> None:
    """Python's own parser takes 3 s for the first one, on the thread that takes requests."""
    fields = b"Content-Type: multipart/form-data; boundary=" + value + b"\r\nContent-Length: 5\r\n\r\nhello"
    begin = time.process_time()
    assert send(server.http_port, POST + fields).status == 400
    assert time.process_time() - begin < 0.5


def test_arrays_in_arrays_cost_no_more_than_their_length(server: Server) -> None:
    """They are read once, not once for each level: that took a minute."""
    data = b"[" * 800 + b"]" * 800 + b',"a"' * 200_000
    body = b'{"inputs":[{"name":"encoded","datatype":"BYTES","shape":[1],"data":[' + data + b"]}]}"
    begin = time.process_time()
    assert ask(server.http_port, "POST", "/v2/models/echo/infer", body).status == 400
    assert time.process_time() - begin < 3


def test_a_form_of_very_many_parts_is_refused(server: Server) -> None:
    body = b"--b\r\nContent-Disposition: f; filename=f\r\n\r\n\r\n" * 5_000 + b"--b--"
    answer = ask(
        server.http_port, "POST", "/v1/models/echo/classify", body, {"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert (answer.status, "more than 4,096 parts" in answer.error) == (400, True), answer.body


def test_a_large_body_that_is_refused_makes_room_before_its_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = server.app._rest._large
    waiting_bytes: list[int] = []
    fail = ReceivedCall.fail

    def seen(call: ReceivedCall, failure: Status) -> None:
        waiting_bytes.append(bodies._waiting_bytes)
        fail(call, failure)

    monkeypatch.setattr(ReceivedCall, "fail", seen)
    body = b'{"images":[' + b"[]," * 300_000 + b"[]]}"
    assert ask(server.http_port, "POST", CLASSIFY, body, {"Content-Type": "application/json"}).status == 400
    assert waiting_bytes == [0]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"images":[' + b"[]," * 300_000 + b"[]]}", "more than 262,144 values"),
        (b"{" + b",".join(b'"%d":1' % number for number in range(100_000)) + b"}", "more than 16,384 members"),
        (b'{"images":[' + b"1" * 700 + b"]}", "640"),
    ],
)
def test_json_that_takes_long_to_read_is_refused(server: Server, body: bytes, error: str) -> None:
    answer = ask(server.http_port, "POST", "/v1/models/echo/classify", body, {"Content-Type": "application/json"})
    assert (answer.status, error in answer.error) == (400, True), answer.body


def test_half_bodies_do_not_add_up(server: Server) -> None:
    """The largest are refused once all together exceed the limit."""
    assert server.app.http is not None
    http = server.app.http
    many = http.limits.max_unfinished_bytes // (1 << 20) + 4
    connections = []
    try:
        for _ in range(many):
            one = connected(server.http_port)
            connections.append(one)
            one.__enter__().sendall(POST + b"Content-Length: 1048576\r\n\r\n" + bytes((1 << 20) - 1))
        first = ask(server.http_port, "POST", "/v1/models/echo/classify", png(PIXELS[0]))
        assert first.status == 200
        wait_until(lambda: http.unfinished_bytes <= http.limits.max_unfinished_bytes and http.closed["unfinished"] > 0)
    finally:
        for one in connections:
            one.__exit__(None, None, None)
    wait_until(lambda: not http.unfinished_bytes)


def test_silent_connections_make_place_for_others(front: str, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    with running_servers(front) as start:
        server = start(tmp_path, max_connections=20)
        silent = [connected(server.http_port) for _ in range(60)]
        for each in silent:
            each.__enter__()
        assert ask(server.http_port, "POST", "/v1/models/echo/classify", png(PIXELS[0])).status == 200
        assert server.app.http is not None
        assert server.app.http.open <= 20
        for each in silent:
            each.__exit__(None, None, None)


def test_many_requests_sent_ahead_are_refused(server: Server) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
        whole = b""
        while piece := connection.recv(65536):
            whole += piece
    assert whole.count(b"HTTP/1.1 200 OK") == limits.MAX_SENT_AHEAD + 1
    assert whole.count(b"HTTP/1.1 429 ") == 1


def test_large_json_is_read_aside_and_only_so_much_waits(
    front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    image = base64.b64encode(png(PIXELS[0]) + bytes(1 << 20)).decode()  # what follows an image means nothing
    body = json.dumps({"image": image, "top_k": 1}).encode()
    headers = {"Content-Type": "application/json"}
    with running_servers(front) as start:
        server = start(tmp_path, max_bytes=16 << 20)
        with ThreadPoolExecutor(16) as callers:
            jobs = [
                callers.submit(ask, server.http_port, "POST", "/v1/models/echo/classify", body, headers)
                for _ in range(32)
            ]
        answers = [job.result() for job in jobs]
    assert {answer.status for answer in answers} <= {200, 429}
    for answer in answers:
        if answer.status == 200:
            assert answer.json["results"][0]["classes"][0]["index"] == EXPECTED[0].argmax()
    assert any(answer.status == 200 for answer in answers)


@pytest.mark.usefixtures("impatient")
def test_who_keeps_a_connection_that_the_server_has_ended_is_not_counted_as_idle(server: Server) -> None:
    """It has its answer. That it is slow to close its side is no fault of its own."""
    http = server.app.http
    assert http is not None
    before = dict(http.closed)
    with connected(server.http_port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert read_answer(connection).status == 200
        wait_until(lambda: not http.open)
    assert http.closed == before
