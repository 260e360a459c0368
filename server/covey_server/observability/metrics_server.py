"""The metrics port: /metrics for Prometheus, /healthz and /readyz for probes by HTTP. Anything else is a 404.

Limited for anybody who can reach it: a request has a few seconds and kilobytes, only so many connections are open at
once, and one metrics page is made at a time. If all places are taken, the connection that has been unfinished for
longest is closed, so half-sent requests never keep a scrape or a probe out.
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import choose_encoder

from covey_server.config import Config
from covey_server.errors import PortUnavailable
from covey_server.observability.health import Health

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 32
MAX_HEAD_BYTES = 16_384  # of a request's line and headers
_REQUEST_S = 5.0  # for a request to be complete, then for its answer to be taken
_FULL_PAUSE_S = 0.05  # if no file is left for a connection; without it the loop would spin
_PATHS = "/metrics, /healthz and /readyz"
_TEXT = "text/plain; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after its answer."""

    server: MetricsServer
    server_version, sys_version = "covey-server", ""

    def setup(self) -> None:
        self.connection: socket.socket = self.request
        head = self._read_head()
        self._is_too_large = len(head) > MAX_HEAD_BYTES
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.connection.settimeout(_REQUEST_S)
        self.server.complete(self.connection)
        self.wfile = io.BytesIO()  # sent at once, in `finish`

    def finish(self) -> None:
        self.connection.sendall(self.wfile.getvalue())  # type: ignore[attr-defined]

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self._is_too_large:
            self.requestline = self.request_version = self.command = ""
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {MAX_HEAD_BYTES:,} bytes are read")
        elif self.parse_request():
            self._answer_request()

    def log_message(self, format: str, *args: object) -> None:
        log.debug("%s: %s", self.address_string(), format % args)

    def _read_head(self) -> bytes:
        """Reads up to the blank line, or a little more than is allowed. Raises OSError if neither comes in time."""
        give_up = time.monotonic() + _REQUEST_S
        head = bytearray()
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= MAX_HEAD_BYTES:
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self.connection.settimeout(left_s)
            piece = self.connection.recv(MAX_HEAD_BYTES)
            if not piece:
                raise ConnectionError("the request is not whole")
            head += piece
        return bytes(head)

    def _answer_request(self) -> None:
        try:
            path = urlsplit(self.path).path
        except ValueError:  # no URL
            path = self.path
        health = self.server.health
        if path not in ("/metrics", "/healthz", "/readyz"):
            self._answer(HTTPStatus.NOT_FOUND, f"there is nothing at {path[:200]!r}; this port has {_PATHS}\n")
        elif self.command not in ("GET", "HEAD"):
            text = f"{self.command[:20]} is not answered here; use GET or HEAD\n"
            self._answer(HTTPStatus.METHOD_NOT_ALLOWED, text, ("Allow", "GET, HEAD"))
        elif path == "/metrics":
            self._answer_metrics()
        elif path == "/healthz":
            self._tell(health.live, "live", "not live: a batch does not end, restarting the server helps")
        else:
            self._tell(health.ready, "ready", "not ready: the server starts, drains, or does not work")

    def _tell(self, good: bool, yes: str, no: str) -> None:
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(status, f"{yes if good else no}\n")

    def _answer_metrics(self) -> None:
        """Answers by prometheus_client, which chooses format and compression as the caller wants."""
        environment = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/metrics",
            "QUERY_STRING": urlsplit(self.path).query,
            "HTTP_ACCEPT": accepted_format(self.headers.get("Accept", "")),
            "HTTP_ACCEPT_ENCODING": self.headers.get("Accept-Encoding", ""),
        }

        def begin(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
            self.send_response(int(status.split()[0]))
            for name, value in headers:
                self.send_header(name, value)

        with self.server.rendering:
            body = b"".join(self.server.application(environment, begin))
        self._end(body)

    def _answer(self, status: HTTPStatus, text: str, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", _TEXT), *headers):
            self.send_header(name, value)
        self._end(text.encode(errors="replace"))

    def _end(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def accepted_format(accept: str) -> str:
    """An Accept header; empty, which means the plain format, if prometheus_client fails on it: on a version that is no
    number."""
    try:
        choose_encoder(accept)
    except (TypeError, ValueError):
        return ""
    return accept


def open_metrics(config: Config, registry: CollectorRegistry, health: Health) -> MetricsServer:
    """The port that the settings ask for, not started yet. Raises PortUnavailable."""
    host, port = config.metrics_host or config.host, config.metrics_port
    try:
        return MetricsServer(host, port, registry, health)
    except OSError as error:
        raise PortUnavailable(
            f"metrics cannot listen on {host}:{port}: {error.strerror}; choose others with "
            f"{'--metrics-host' if config.metrics_host else '--host'} and --metrics-port"
        ) from error


class MetricsServer(TCPServer):
    """Listens from the beginning, answers from `start` to `stop`. Each connection has a thread of its own."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        """Raises OSError where the address cannot be bound."""
        self.address_family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self.health = health
        self.application: Any = make_wsgi_app(registry)
        self.rendering = threading.Lock()
        self._open: dict[socket.socket, bool] = {}  # whether its request is complete; the oldest first
        self._lock = threading.Lock()
        self._is_stopping = False
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]

    @property
    def port(self) -> int:
        """The port that was bound."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Answers from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Closes the port, and cuts off requests that are being answered."""
        self._is_stopping = True
        if self._thread.is_alive():
            with contextlib.suppress(OSError):  # wakes the thread, which else looks for its end every 0.5 s
                self.socket.shutdown(socket.SHUT_RDWR)
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    def complete(self, connection: socket.socket) -> None:
        """Notes that a request is complete: its connection is no longer among the first to be closed."""
        with self._lock:
            if connection in self._open:
                self._open[connection] = True

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError:
            if not self._is_stopping:
                time.sleep(_FULL_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                unfinished = (each for each, whole in self._open.items() if not whole)
                _shut(next(unfinished, next(iter(self._open))))
            self._open[request] = False
        try:
            threading.Thread(
                target=self._serve, args=(request, client_address), name="metrics-request", daemon=True
            ).start()
        except RuntimeError:  # no thread is left
            self._close(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        log.debug("a request of the metrics port was not answered", exc_info=True)

    def _serve(self, request: socket.socket, client_address: Any) -> None:  # noqa: ANN401 - as the base class
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - whatever it sent, the next one is served
            self.handle_error(request, client_address)
        finally:
            self._close(request)

    def _close(self, request: socket.socket) -> None:
        with self._lock:
            self._open.pop(request, None)
        self.shutdown_request(request)


def _shut(connection: socket.socket) -> None:
    """Wakes the thread that reads or writes it, which then closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
