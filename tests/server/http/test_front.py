"""The HTTP front itself: connections, routes, ids, origins, tokens, TLS, the end."""

from __future__ import annotations

import gc
import http.client
import io
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tests.certificates import Authority
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.http.asking import (
    EXPECTED,
    PIXELS,
    TIMEOUT_S,
    ask,
    ask_by,
    connected,
    is_closed,
    large_infer,
    png,
    read_answer,
    send,
)
from tests.waiting import wait_until

from covey_server.app import App
from covey_server.config import Config
from covey_server.fronts.http.received import ReceivedCall
from covey_server.protocols.rest.large_bodies import LARGE_BYTES

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
FILE = png(PIXELS[0])
HeldUp = tuple[Server, threading.Event]
MANY = (b"--b\r\nContent-Disposition: f; filename=f\r\n\r\n" + FILE + b"\r\n") * 900 + b"--b--"
LARGE = b"x" * LARGE_BYTES + b"\r\n" + MANY  # what comes before the first part means nothing


def test_a_connection_is_kept_for_further_requests(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT_S)
    for place in range(5):
        answer = ask_by(connection, "POST", "/v1/models/echo/classify?top_k=1", png(PIXELS[place]))
        assert answer.json["results"][0]["classes"][0]["index"] == EXPECTED[place].argmax()
        assert "connection" not in answer.headers
    connection.close()


def test_requests_sent_ahead_are_answered_in_order(server: Server) -> None:
    with connected(server.http_port) as connection:
        files = [png(each) for each in PIXELS]
        head = "POST /v1/models/echo/classify?top_k=1 HTTP/1.1\r\nHost: a\r\n"
        head += "X-Request-Id: {}\r\nContent-Length: {}\r\n\r\n"
        requests = [head.format(place, len(each)).encode() + each for place, each in enumerate(files)]
        connection.sendall(b"".join(requests) + GET + b"Connection: close\r\n\r\n")
        reader = connection.makefile("rb")
        whole = reader.read()
    for place in range(20):
        assert b"X-Request-Id: %d\r\n" % place in whole
        best = int(EXPECTED[place].argmax())
        _, _, whole = whole.partition(b"X-Request-Id: %d\r\n" % place)
        assert b'"index":%d,' % best in whole.partition(b"HTTP/1.1")[0]
    assert whole.endswith(b"Connection: close\r\n\r\nlive\n")


def test_http_1_0_is_answered_and_closed_unless_asked(server: Server) -> None:
    with connected(server.http_port) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = read_answer(connection)
        assert (answer.status, answer.body, answer.headers["connection"]) == (200, b"live\n", "close")
        assert is_closed(connection)
    answer = send(server.http_port, b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.headers["connection"] == "keep-alive"


def test_head_and_options_are_answered_without_a_body(server: Server) -> None:
    answer = ask(server.http_port, "HEAD", "/readyz")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "6")
    answer = ask(server.http_port, "OPTIONS", "/v1/models/echo/classify")
    assert (answer.status, answer.headers["allow"]) == (204, "POST, PUT, OPTIONS")


def test_an_upgrade_is_declined(server: Server) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
    with connected(server.http_port) as connection:
        connection.sendall(GET + offer + b"\r\n")
        assert read_answer(connection).body == b"live\n"
        connection.sendall(GET + b"\r\n")
        assert read_answer(connection).body == b"live\n"


@pytest.mark.parametrize("piece", [1 << 16, 7])
def test_a_body_that_comes_with_an_offer_to_upgrade_is_read(server: Server, piece: int) -> None:
    """As `curl --http2` offers HTTP/2 with each request, uploads included."""
    offer = b"Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    upload = b"POST /v1/models/echo/classify?top_k=1 HTTP/1.1\r\n" + offer
    whole = upload + b"Content-Length: %d\r\n\r\n" % len(FILE) + FILE
    chunked = upload + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(FILE) + FILE + b"\r\n0\r\n\r\n"
    last = upload.replace(b"Upgrade, ", b"close, Upgrade, ") + b"Content-Length: %d\r\n\r\n" % len(FILE) + FILE
    data = whole + chunked + GET + b"\r\n" + last
    with connected(server.http_port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), piece):
            connection.sendall(data[start : start + piece])
        found = connection.makefile("rb").read()
    assert re.findall(rb"HTTP/1.1 (\d+)", found) == [b"200"] * 4
    assert found.count(b'"index":%d,' % EXPECTED[0].argmax()) == 3
    assert found.count(b"Connection: close") == 1


@pytest.fixture
def unread(server: Server) -> Iterator[socket.socket]:
    """A connection whose answer did not fit into the network's buffers."""
    http = server.app.http
    assert http is not None
    with connected(server.http_port) as connection:
        connection.sendall(large_infer())
        wait_until(lambda: any(each.is_writing for each in http._connections))
        yield connection


def behind_the_answer(reader: io.BufferedIOBase) -> io.BufferedIOBase:
    """Reads the answer of `unread`."""
    length = 0
    while (line := reader.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        length = int(value) if name == b"Content-Length" else length
    assert length > 2_400_000
    assert len(reader.read(length)) == length
    return reader


def test_what_follows_an_unread_answer_waits_for_it(server: Server, unread: socket.socket) -> None:
    http = server.app.http
    assert http is not None
    unread.sendall((GET + b"\r\n") * 3 + GET + b"Connection: close\r\n\r\n")
    wait_until(lambda: any(each.waiting for each in http._connections))
    found = behind_the_answer(unread.makefile("rb")).read()
    assert [each[-5:] for each in found.split(b"HTTP/1.1 200 OK")] == [b"", *[b"live\n"] * 4]


def test_an_upload_is_invited_after_the_answer_before_it(server: Server, unread: socket.socket) -> None:
    http = server.app.http
    assert http is not None
    head = b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n" % len(FILE)
    unread.sendall(head + b"Expect: 100-continue\r\n\r\n")
    wait_until(lambda: any(each.reader.in_body for each in http._connections))
    reader = behind_the_answer(unread.makefile("rb"))
    assert reader.readline() + reader.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
    unread.sendall(FILE)
    assert reader.readline() == b"HTTP/1.1 200 OK\r\n"


def test_the_server_as_a_whole_answers_options(server: Server) -> None:
    assert ask(server.http_port, "OPTIONS", "*").status == 204


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=abc", "text/plain;version=1.x", ";,=;q"])
def test_metrics_are_answered_whatever_is_accepted(server: Server, accept: str) -> None:
    for port in (server.http_port, server.app.metrics_port):
        answer = ask(port, "GET", "/metrics", headers={"Accept": accept})
        assert (answer.status, b"covey_" in answer.body) == (200, True)


def test_unknown_paths_and_methods_are_said(server: Server) -> None:
    answer = ask(server.http_port, "GET", "/nowhere")
    assert (answer.status, answer.error) == (404, "there is nothing at '/nowhere'; /docs shows what is")
    for method, path, near in (
        ("GET", "/v1/models/", "/v1/models"),
        ("GET", "//v1//models/ech%6f/", "/v1/models/ech%6f"),
        ("GET", "/healthz/", "/healthz"),
        ("POST", "/v1/models/echo/classify/", "/v1/models/echo/classify"),
        ("PUT", "/v1/models/echo/classify/cat.jpg", "/v1/models/echo/classify"),  # curl -T cat.jpg .../classify/
    ):
        answer = ask(server.http_port, method, path)
        assert (answer.status, answer.error) == (404, f"there is nothing at '{path}'; there is '{near}'")
    for method, path in (("POST", "/v1/models/echo/classify/cat.jpg"), ("GET", "/v1//"), ("PUT", "/v1/models/")):
        answer = ask(server.http_port, method, path)
        assert (answer.status, answer.error) == (404, f"there is nothing at '{path}'; /docs shows what is")
    answer = ask(server.http_port, "DELETE", "/v1/models")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert answer.error == "DELETE is not answered at this path; use GET or HEAD"


@pytest.mark.parametrize(
    "path", ["/v1/models/..", "/v1/models/%2e%2e", "/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/%00"]
)
def test_names_in_paths_are_only_looked_up(server: Server, path: str) -> None:
    answer = ask(server.http_port, "GET", path)
    assert answer.status == 404
    assert "is not served here" in answer.error


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/v1//models"])
def test_paths_lead_to_no_file(server: Server, path: str) -> None:
    assert ask(server.http_port, "GET", path).status == 404


def test_a_request_id_is_taken_or_made(server: Server) -> None:
    assert (
        ask(server.http_port, "GET", "/healthz", headers={"X-Request-Id": "a-1.b_2"}).headers["x-request-id"]
        == "a-1.b_2"
    )
    made = {ask(server.http_port, "GET", "/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for wrong in ("a b", "x" * 129, "<script>", '"'):
        assert (
            ask(server.http_port, "GET", "/healthz", headers={"X-Request-Id": wrong}).headers["x-request-id"] != wrong
        )


def test_what_comes_late_is_not_computed(server: Server) -> None:
    answer = ask(
        server.http_port, "POST", "/v1/models/echo/classify?timeout_ms=1", MANY,
        {"Content-Type": "multipart/form-data; boundary=b"},
    )  # fmt: skip
    assert (answer.status, answer.json["grpc_status"]) == (504, "DEADLINE_EXCEEDED"), answer.body


def test_failures_are_logged_and_refusals_are_not(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller could have a line written for each request."""
    write_echo_model(tmp_path, nan_at=77)
    port = start_server(tmp_path).http_port
    bad = png(np.full((4, 4, 1), 77, np.uint8))
    caplog.set_level(logging.INFO, "covey_server.fronts")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert ask(port, "POST", "/v1/models/echo/classify?timeout_ms=1", MANY, headers).status == 504
    assert ask(port, "POST", "/v1/models/echo/classify", bad, {"X-Request-Id": "mine"}).status == 500
    (said,) = (each.getMessage() for each in caplog.records if each.name == "covey_server.fronts.http.received")
    assert said.startswith("request mine failed with 500: ")


def test_an_upload_is_invited_and_a_wrong_one_refused_before_it_comes(server: Server) -> None:
    head = "POST {} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n"
    with connected(server.http_port) as connection:
        connection.sendall(head.format("/v1/models/echo/classify", len(FILE)).encode())
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(FILE)
        assert read_answer(connection).status == 200
    with connected(server.http_port) as connection:
        connection.sendall(head.format("/nowhere", 10_000_000).encode())
        answer = read_answer(connection)
        assert (answer.status, answer.headers["connection"]) == (404, "close")
        assert is_closed(connection)


def test_probes_and_metrics_are_answered(server: Server) -> None:
    assert ask(server.http_port, "GET", "/readyz").body == b"ready\n"
    answer = ask(server.http_port, "GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert b"covey_ready 1.0" in answer.body


def test_no_http_means_no_port(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    assert start_server(tmp_path, http=False).app.http is None


def test_all_addresses_are_those_of_ipv4_too(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    write_echo_model(tmp_path)
    server = start_server(tmp_path, host="::")
    for address in ("127.0.0.1", "::1"):
        with socket.create_connection((address, server.http_port), timeout=TIMEOUT_S) as connection:
            connection.sendall(GET + b"\r\n")
            assert read_answer(connection).status == 200


def test_pages_of_other_origins_may_not_call(server: Server) -> None:
    answer = ask(server.http_port, "GET", "/v1/models", headers={"Origin": "https://evil.example"})
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    own = f"http://127.0.0.1:{server.http_port}"
    assert ask(server.http_port, "GET", "/v1/models", headers={"Origin": own}).status == 200


def test_the_servers_own_pages_may_call_through_a_proxy(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, allowed_host="covey.example")
    # A proxy that ends TLS: the browser says https, and to this server everything is http.
    for site, status in (("same-origin", 200), ("same-site", 403), ("cross-site", 403), ("none", 403)):
        headers = {"Origin": "https://covey.example", "Host": "covey.example", "Sec-Fetch-Site": site}
        assert ask(server.http_port, "GET", "/v1/models", headers=headers).status == status, site


def test_pages_of_allowed_origins_may_call(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    port = start_server(tmp_path, cors_origin="https://a.example, https://b.example:8443").http_port
    for origin in ("https://a.example", "https://b.example:8443"):
        answer = ask(port, "GET", "/v1/models", headers={"Origin": origin})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-request-id",
        }
        answer = ask(port, "OPTIONS", "/v1/models/echo/classify", headers=asked)
        assert (answer.status, answer.headers["access-control-allow-headers"]) == (204, "x-request-id")
        assert "POST" in answer.headers["access-control-allow-methods"]
        # An error, too, is for the page to read.
        assert ask(port, "GET", "/nowhere", headers={"Origin": origin}).headers["access-control-allow-origin"] == origin
    for wrong in ("https://a.example.evil", "http://a.example", "null"):
        assert ask(port, "GET", "/v1/models", headers={"Origin": wrong}).status == 403


@pytest.fixture
def tokens(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """A file with the token "good", beside models."""
    write_echo_model(tmp_path / "models")
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text("good\n")
    return file


def test_callers_need_a_token_but_for_probes(start_server: StartServer, tmp_path: Path, tokens: Path) -> None:
    port = start_server(tmp_path / "models", auth_token_file=str(tokens)).http_port
    for path in ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"):
        assert ask(port, "GET", path).status == 200
    for headers in ({}, {"Authorization": "Bearer bad"}, {"Authorization": "good"}):
        for method, path, body in (("GET", "/v1/models", None), ("POST", "/v1/models/echo/classify", FILE)):
            answer = ask(port, method, path, body, headers)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert "good" not in answer.error
    answer = ask(port, "POST", "/v1/models/echo/classify", FILE, {"Authorization": "Bearer good"})
    assert answer.status == 200
    with connected(port) as connection:  # refused before the body comes
        connection.sendall(b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
        assert read_answer(connection).status == 401


def test_tls_serves_and_follows_its_files(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    authority = Authority(tmp_path / "ca")
    pair = authority.sign("localhost", "127.0.0.1")
    server = start_server(
        tmp_path / "models", front="grpcio", tls_certificate=str(pair.certificate), tls_key=str(pair.key)
    )
    trusting = ssl.create_default_context(cafile=str(authority.certificate))

    def serial_and_status() -> tuple[str, int]:
        connection = http.client.HTTPSConnection("127.0.0.1", server.http_port, context=trusting, timeout=TIMEOUT_S)
        answer = ask_by(connection, "POST", "/v1/models/echo/classify", FILE)
        assert isinstance(connection.sock, ssl.SSLSocket)
        found = connection.sock.getpeercert()
        connection.close()
        assert found is not None
        return str(found["serialNumber"]), answer.status

    before, status = serial_and_status()
    assert status == 200
    authority.sign("localhost", "127.0.0.1")
    for _ in range(2):  # a file is used once it rests
        server.app._refresh_security()
    after, status = serial_and_status()
    assert (status, before != after) == (200, True)
    with connected(server.http_port) as plain:  # HTTP where TLS is spoken
        plain.sendall(GET + b"\r\n")
        assert is_closed(plain)


def test_mutual_tls_wants_a_certificate(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models")
    authority = Authority(tmp_path / "ca")
    pair, own = authority.sign("127.0.0.1"), authority.sign("caller.example", file="caller")
    server = start_server(
        tmp_path / "models", front="grpcio", tls_certificate=str(pair.certificate), tls_key=str(pair.key),
        tls_client_ca=str(authority.certificate),
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(authority.certificate))
    connection = http.client.HTTPSConnection("127.0.0.1", server.http_port, context=context, timeout=TIMEOUT_S)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask_by(connection, "GET", "/healthz")
    connection.close()
    context.load_cert_chain(own.certificate, own.key)
    connection = http.client.HTTPSConnection("127.0.0.1", server.http_port, context=context, timeout=TIMEOUT_S)
    assert ask_by(connection, "GET", "/healthz").status == 200
    connection.close()


def test_what_was_accepted_is_answered_at_the_end(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, hangs_at=255, hang_turns=600_000)  # for some tenths of a second
    server = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0, inline_us=0)))
    server.channel.close()
    server.app.start()
    slow = PIXELS[0].copy()
    slow[0] = 255
    with connected(server.http_port) as busy, connected(server.http_port) as idle:
        idle.sendall(GET + b"\r\n")
        assert read_answer(idle).status == 200
        body = png(slow)
        busy.sendall(
            b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        wait_until(lambda: server.app._admission.calls > 0)
        stopping = threading.Thread(target=server.app.stop)
        stopping.start()
        answer = read_answer(busy)
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert is_closed(idle)
        stopping.join()


def test_at_the_end_no_connection_is_taken_that_would_not_be_answered(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """Who cannot connect may try elsewhere; what was sent on a connection that is reset may have been heard."""
    write_echo_model(tmp_path, hangs_at=255, hang_turns=600_000)  # for some tenths of a second
    server = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0, inline_us=0)))
    server.channel.close()
    server.app.start()
    slow = PIXELS[0].copy()
    slow[0] = 255
    with connected(server.http_port) as busy:
        body = png(slow)
        busy.sendall(
            b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        wait_until(lambda: server.app._admission.calls > 0)
        stopping = threading.Thread(target=server.app.stop)
        stopping.start()
        assert read_answer(busy).status == 200  # it is not closed, so the server waits for a while

        def is_refused() -> bool:
            try:
                answer = send(server.http_port, GET + b"\r\n")
            except ConnectionRefusedError:
                return True
            assert answer.headers["connection"] == "close"
            return False

        wait_until(is_refused)
        assert stopping.is_alive()
    stopping.join()


def test_an_upload_that_the_end_interrupts_is_told(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    server = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0)))
    server.channel.close()
    server.app.start()
    http = server.app.http
    assert http is not None
    with connected(server.http_port) as connection:
        connection.sendall(b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n" + FILE)
        wait_until(lambda: any(each.reader.body_bytes for each in tuple(http._connections)))
        stopping = threading.Thread(target=server.app.stop)
        stopping.start()
        connection.sendall(bytes(10))  # it goes on meanwhile
        answer = read_answer(connection)
        assert (answer.status, "shutting down" in answer.error) == (503, True)
        assert answer.headers["connection"] == "close"
    stopping.join()


@pytest.fixture
def held_up(tmp_path: Path, write_echo_model: WriteModel) -> Iterator[HeldUp]:
    """A server whose thread for large bodies does nothing yet. Tests stop it."""
    write_echo_model(tmp_path)
    server = Server(App(Config(models=tmp_path, grpc_port=0, http_port=0, metrics_port=0, drain_timeout_s=5)))
    server.channel.close()
    server.app.start()
    may_read = threading.Event()
    server.app._rest._large._thread.submit(may_read.wait, 2 * TIMEOUT_S)
    yield server, may_read
    may_read.set()


def test_forms_that_wait_to_be_read_are_answered_at_the_end(held_up: HeldUp) -> None:
    """They came whole before the server began to stop. What comes later is refused."""
    server, may_read = held_up
    large = server.app._rest._large
    request = b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    request += b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
    with connected(server.http_port) as early, connected(server.http_port) as late, ThreadPoolExecutor(1) as other:
        early.sendall(request)
        wait_until(lambda: large._waiting_bytes > 0)
        stopping = other.submit(server.app.stop)
        wait_until(lambda: large.is_draining)
        late.sendall(request)
        answer = read_answer(late)
        assert (answer.status, "shutting down" in answer.error) == (503, True)
        may_read.set()
        answer = read_answer(early)
        assert (answer.status, len(answer.json["results"])) == (200, 900)
        assert stopping.result()


def test_a_body_that_is_never_read_does_not_keep_the_server_from_ending(held_up: HeldUp) -> None:
    server, _ = held_up
    began = time.monotonic()
    server.app.stop()
    assert time.monotonic() - began < TIMEOUT_S


def test_a_caller_who_hangs_up_cancels_its_request(server: Server) -> None:
    head = b"POST /v1/models/echo/classify HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with connected(server.http_port) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(MANY) + MANY)
        wait_until(lambda: server.app._admission.decodes > 0)
    wait_until(lambda: not server.app._admission.calls)
    answer = ask(server.http_port, "GET", "/metrics")
    assert b'covey_requests_total{code="CANCELLED",model="echo",protocol="http",version="1"}' in answer.body


def test_the_end_under_load_loses_nothing_that_was_accepted(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """Callers who keep their connections get answers until they are told that theirs ends; what they send on it is
    answered too. Only a connection that is closed between two requests may end without an answer."""
    write_echo_model(tmp_path)
    server = Server(App(Config(models=tmp_path, grpc_port=0, metrics_port=0)))
    server.channel.close()
    server.app.start()
    counts, lost, told = [0] * 8, [], []

    def call(place: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT_S)
        expected = int(EXPECTED[place].argmax())
        while True:
            try:
                answer = ask_by(connection, "POST", "/v1/models/echo/classify?top_k=1", png(PIXELS[place]))
            except (ConnectionError, http.client.RemoteDisconnected):
                break  # nothing of an answer came
            except http.client.IncompleteRead as error:
                lost.append(error)
                break
            if answer.status == 200:
                assert answer.json["results"][0]["classes"][0]["index"] == expected
                counts[place] += 1
            if answer.headers.get("connection") == "close":
                told.append(answer.status)
                break
        connection.close()

    callers = [threading.Thread(target=call, args=(place,)) for place in range(8)]
    for each in callers:
        each.start()
    wait_until(lambda: min(counts) > 20)
    assert server.app.stop()
    for each in callers:
        each.join()
    assert not lost
    assert told
    assert set(told) <= {200, 503}
    assert server.app._metrics.tally(server.app.repository.catalog.find("echo", 0)).codes["OK", "http"] == sum(counts)


def test_requests_that_begin_alike_are_told_apart(server: Server) -> None:
    """What is known of the last request is used for the same bytes only, and its body never."""
    head = (
        b"POST /v1/models/echo/classify?top_k=%d HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: %d\r\n\r\n"
    )
    with connected(server.http_port) as connection:
        for place in (0, 1, 2, 3, 3, 4, 5):
            for top_k, request_id in ((1, b"a"), (1, b"a"), (1, b"a"), (2, b"a"), (2, b"b"), (1, b"a")):
                body = png(PIXELS[place])
                connection.sendall(head % (top_k, request_id, len(body)) + body)
                answer = read_answer(connection)
                assert answer.headers["x-request-id"] == request_id.decode()
                classes = answer.json["results"][0]["classes"]
                assert (len(classes), classes[0]["index"]) == (top_k, EXPECTED[place].argmax())
        made = set()
        for _ in range(5):
            connection.sendall(GET + b"\r\n")
            made.add(read_answer(connection).headers["x-request-id"])
        assert len(made) == 5


def test_a_token_that_is_revoked_is_refused_on_an_open_connection(
    start_server: StartServer, tmp_path: Path, tokens: Path
) -> None:
    server = start_server(tmp_path / "models", auth_token_file=str(tokens))
    request = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\n\r\n"
    with connected(server.http_port) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert read_answer(connection).status == 200
        tokens.write_text("better\n")
        for _ in range(2):  # a file is used once it rests
            server.app._refresh_security()
        connection.sendall(request)
        assert read_answer(connection).status == 401


def test_nothing_of_a_request_is_kept_once_it_is_answered(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path)
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT_S)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (bytes(3_000_000), b"{}", bytes(3_000_000)):
        assert ask_by(connection, "POST", "/v1/models/echo/classify", body, kind).status == 400

    def kept() -> list[ReceivedCall]:
        # By type: isinstance asks other libraries' objects for their class, and some warn.
        return [each for each in gc.get_objects() if type(each) is ReceivedCall and len(each.payload) > 1_000_000]

    wait_until(lambda: not kept())  # without a run of the garbage collector
    connection.close()
