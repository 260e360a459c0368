"""Owns one kept-alive HTTP/1.1 connection: one POST in flight at a time.

Understands the answers of model servers: a status line, headers, and a body with its length or in chunks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from covey_load.wire.connection import Connection, Outcome
from covey_load.wire.grpc_status import DEADLINE_EXCEEDED, NO_STATUS, OK
from covey_load.wire.sockets import Endpoint

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_CLOSE = b"\r\nconnection: close"
_LAST_CHUNK = b"0\r\n\r\n"


class HttpRequest:
    """One body for one path, encoded. Shared by all calls and connections."""

    def __init__(
        self, authority: str, path: str, body: bytes, number: int = 0, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """`number` is the caller's own, to know the request by."""
        lines = [f"POST {path} HTTP/1.1", f"Host: {authority}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.number = number
        self.octets = "\r\n".join([*lines, "", ""]).encode("ascii") + body


class HttpConnection(Connection[HttpRequest]):
    """Calls on one connection, one after the other. Never blocks once connected."""

    max_concurrent_calls = 1

    def __init__(self, endpoint: Endpoint, *, answers: bool = False) -> None:
        """Connects. `answers` keeps the bodies of answers. Raises OSError where nobody listens."""
        super().__init__(endpoint.connect("http/1.1"), answers=answers)
        self._call: tuple[int, int, int] | None = None  # number, due, sent
        self.socket.setblocking(False)

    @property
    def in_flight(self) -> int:
        return 0 if self._call is None else 1

    @property
    def can_open(self) -> bool:
        return self._call is None and not self.retiring

    def open_call(self, request: HttpRequest, due_ns: int | None = None) -> None:
        now_ns = time.perf_counter_ns()
        self._call = (request.number, now_ns if due_ns is None else due_ns, now_ns)
        self._outgoing.append(request.octets)

    def cancel_older(self, than_ns: int) -> list[Outcome]:
        """Retires the connection: HTTP/1.1 has no other way to give a call up."""
        self._outcomes = []
        if self._call is not None and self._call[1] < than_ns:
            self.retiring = True
            self._end(DEADLINE_EXCEEDED)
        return self._outcomes

    def _read(self, data: bytes, now_ns: int) -> None:
        self._incoming += data
        head_end = self._incoming.find(_HEAD_END)
        if head_end < 0:
            return
        head = self._incoming[:head_end].lower()
        body = self._body(head, head_end + len(_HEAD_END))
        if body is None:
            return
        self.retiring = self.retiring or _CLOSE in head
        status = int(head[9:12]) if head[9:12].isdigit() else NO_STATUS
        self._end(OK if status == 200 else status, body)

    def _lose_calls(self) -> None:
        self._end(NO_STATUS)

    def _body(self, head: bytes, start: int) -> bytes | None:
        """The body as it came, chunks and all; None while it is incomplete."""
        if _CHUNKED in head:
            return self._incoming[start:] if self._incoming.endswith(_LAST_CHUNK) else None
        place = head.find(_LENGTH)
        length = int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        return self._incoming[start : start + length] if len(self._incoming) >= start + length else None

    def _end(self, status: int, body: bytes = b"") -> None:
        self._incoming = b""
        self._drop_outgoing()
        if self._call is not None:
            number, due_ns, sent_ns = self._call
            self._call = None
            answer = body if self._keep_answers and status == OK else b""
            self._outcomes.append(Outcome(number, due_ns, sent_ns, time.perf_counter_ns(), status, answer))
