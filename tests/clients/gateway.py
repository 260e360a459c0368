"""Passes calls over HTTP on to a gRPC server, as Covey answers them at gRPC's own paths: scripted servers over HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc

# As covey_server.calls.status has them.
HTTP_STATUSES: Mapping[str, int] = {
    "CANCELLED": 499, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 404, "UNAVAILABLE": 503, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
}  # fmt: skip


class Gateway(ThreadingHTTPServer):
    """On a free port, or on `port`, until `stop`. `requests` are the paths that were asked for, with their headers."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, grpc_target: str, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.requests: list[tuple[str, Mapping[str, str]]] = []
        self.channel = grpc.insecure_channel(
            grpc_target, [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        )
        self._connections: set[socket.socket] = set()
        self.target = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as socketserver has it
        self._connections.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """Closes the port and all connections."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.channel.close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as socketserver has it
        """Callers that have gone are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        self.server.requests.append((url.path, self.headers))  # type: ignore[arg-type]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        timeout_ms = float(parse_qs(url.query)["timeout_ms"][0])
        assert self.headers["Content-Type"] == "application/x-protobuf"
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.server.channel.unary_unary(url.path)
        try:
            self._answer(200, "application/x-protobuf", call(body, timeout=timeout_ms / 1_000))
        except grpc.RpcError as error:
            name, status = error.code().name, HTTP_STATUSES.get(error.code().name, 500)
            problem = {"type": "about:blank", "status": status, "detail": error.details(), "grpc_status": name}
            trailers: Any = error.trailing_metadata() or ()
            hints = [str(value) for key, value in trailers if key == "retry-after-ms"]
            fields = {"Retry-After-Ms": hints[0]} if hints else {}
            self._answer(status, "application/problem+json", json.dumps(problem).encode(), fields)
        except ValueError:  # the gateway has stopped
            self.close_connection = True

    def _answer(self, status: int, kind: str, body: bytes, fields: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(fields or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        del format, args
