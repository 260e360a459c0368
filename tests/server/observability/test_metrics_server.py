"""The metrics port through a real server: its paths, and what half-sent requests cannot do."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Gauge
from tests.waiting import wait_until

from covey_server.observability import metrics_server
from covey_server.observability.health import Health
from covey_server.observability.metrics_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MetricsServer


@pytest.fixture
def health() -> Health:
    health = Health()
    health.serving = True
    return health


@pytest.fixture
def server(health: Health) -> Iterator[MetricsServer]:
    registry = CollectorRegistry()
    Gauge("covey_ready", "text", registry=registry).set(1)
    server = MetricsServer("127.0.0.1", 0, registry, health)
    server.start()
    yield server
    server.stop()


def ask(server: MetricsServer, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    """The answer, its body still to be read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def said(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and text."""
    answer = ask(server, path, method)
    return answer.status, answer.read().decode()


def half_request(server: MetricsServer) -> socket.socket:
    """A connection whose request has begun."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
    return connection


def test_metrics_come_in_the_format_and_the_encoding_that_are_asked_for(server: MetricsServer) -> None:
    plain = ask(server, "/metrics")
    assert plain.status == 200
    assert (plain.getheader("Content-Type") or "").startswith("text/plain")
    assert b"\ncovey_ready 1.0\n" in plain.read()
    packed = ask(server, "/metrics?name[]=covey_ready", Accept="application/openmetrics-text", Accept_Encoding="gzip")
    assert (packed.getheader("Content-Type") or "").startswith("application/openmetrics-text")
    assert gzip.decompress(packed.read()).endswith(b"covey_ready 1.0\n# EOF\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/health", "/Metrics", "/favicon.ico", "/readyz%2f"])
def test_any_other_path_is_not_found(server: MetricsServer, path: str) -> None:
    status, text = said(server, path)
    assert status == 404
    assert text == f"there is nothing at {path!r}; this port has /metrics, /healthz and /readyz\n"


def test_the_probes_tell_the_truth(server: MetricsServer, health: Health) -> None:
    assert (said(server, "/healthz"), said(server, "/readyz?verbose")) == ((200, "live\n"), (200, "ready\n"))
    health.serving = False
    assert (said(server, "/healthz")[0], said(server, "/readyz")[0]) == (200, 503)
    health.works = False
    assert (said(server, "/healthz")[0], said(server, "/readyz")[0]) == (503, 503)


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_other_methods_are_refused(server: MetricsServer, path: str) -> None:
    answer = ask(server, path, "POST")
    assert (answer.status, answer.getheader("Allow")) == (405, "GET, HEAD")
    head = ask(server, path, "HEAD")
    assert (head.status, head.read()) == (200, b"")
    assert int(head.getheader("Content-Length") or 0) > 0


def test_a_half_request_is_closed_in_time(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_REQUEST_S", 0.2)
    with half_request(server) as connection:
        assert connection.recv(100) == b""  # and no answer


def test_a_request_that_comes_byte_by_byte_has_no_more_time(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_server, "_REQUEST_S", 0.3)
    began = time.monotonic()
    with half_request(server) as connection:
        assert drip(connection, until=began + 20)
    assert time.monotonic() - began < 10


def drip(connection: socket.socket, until: float) -> bool:
    """Sends a byte now and then; whether the other side hung up meanwhile."""
    connection.settimeout(0.02)
    while time.monotonic() < until:
        try:
            connection.sendall(b"x")
            if not connection.recv(1):
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def handlers() -> int:
    """Threads that have a connection. Others may end meanwhile: those of tests before."""
    return sum(each.name == "metrics-request" for each in threading.enumerate())


def test_half_requests_keep_nobody_out_and_take_no_more_threads_than_places(server: MetricsServer) -> None:
    halves = [half_request(server) for _ in range(3 * MAX_CONNECTIONS)]
    wait_until(lambda: 0 < handlers() <= MAX_CONNECTIONS)
    assert said(server, "/readyz") == (200, "ready\n")
    assert said(server, "/metrics")[0] == 200
    for connection in halves[: 2 * MAX_CONNECTIONS]:  # the first that came were closed for the later ones
        assert connection.recv(100) == b""
    for connection in halves:
        connection.close()
    wait_until(lambda: handlers() == 0)


def test_a_request_without_end_is_refused(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES)
        assert connection.recv(100).startswith(b"HTTP/1.0 431 ")


@pytest.mark.parametrize(
    "request_line", [b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0", b"GET", b"", b"GET /metrics FTP/1"]
)
def test_what_is_no_http_harms_nothing(server: MetricsServer, request_line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request_line + b"\r\n\r\n")
        assert connection.recv(100)[:9] in (b"", b"HTTP/1.0 ", b"<!DOCTYPE")
    assert said(server, "/readyz")[0] == 200
