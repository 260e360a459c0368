"""Requests that came together and begin with the same bytes, as one burst.

Reading many connections takes the intake thread one wait. What it finds there is mostly the same request with other
pixels, from callers who ask again and again. Such requests are known without parsing (`known_request`), so they need no
object each: they are gathered as columns, handed over together, and answered together, by the same handlers, admission
and batcher. Whatever is not alike, not known, not alone on its connection, or fails, becomes a ReceivedCall, as all
requests do that are parsed. `tests/server/http/test_burst.py` holds that both ways answer the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from covey_server.calls.call import Call
from covey_server.calls.http import LARGE_BYTES, HttpBurst
from covey_server.fronts.http import answers
from covey_server.fronts.http.known_request import KnownRequest
from covey_server.fronts.http.received import ReceivedCall, made_id, made_ids

if TYPE_CHECKING:
    from covey_server.fronts.http.connection import Connection
    from covey_server.fronts.http.front import HttpFront


class ReceivedBurst(HttpBurst):
    """Requests of several connections, one of each. The intake thread gathers it by `add`, then calls `complete` and
    hands it over."""

    __slots__ = ("_calls", "_connections", "_front", "_gone", "_parts", "_principals", "known")
    payloads: list[bytes]
    holds_answer = ReceivedCall.holds_answer

    def __init__(self, front: HttpFront, known: KnownRequest, arrived_ns: int) -> None:
        target = known.target
        self.payloads = []
        self.peers = ()
        self.arrived_ns = arrived_ns
        self.deadline_ns = arrived_ns + target.timeout_ms * 1_000_000 if target.timeout_ms else None
        self.arguments = target.arguments
        self.query = target.query
        self.settle = self.write = None
        self.begin_record = None
        self.known = known
        self._front = front
        self._connections: list[Connection] = []
        self._principals: list[str] = []
        self._gone: list[Connection] = []  # whose callers have gone
        self._parts: tuple[ReceivedBurst, ...] = ()  # what it was divided into
        self._calls: Sequence[ReceivedCall] = ()  # or what was made of it

    def add(self, connection: Connection, payload: bytes, principal: str) -> None:
        """Adds a request."""
        self.payloads.append(payload)
        self._connections.append(connection)
        self._principals.append(principal)

    def complete(self) -> None:
        """Tells that nothing more is added."""
        self.peers = [connection.peer for connection in self._connections]
        self.by_peer = dict.fromkeys(self.peers, 1)  # each connection has one request at a time

    def header(self, name: str) -> str:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self.known.headers if key == wanted), "")

    def headers(self, name: str) -> Sequence[str]:
        return [self.header(name)] * len(self.payloads)

    @property
    def principals(self) -> Sequence[str]:
        return self._principals

    @property
    def has_body(self) -> bool:
        """Whether its requests have bodies; all do, or none."""
        return bool(self.payloads[0])

    @property
    def cancelled(self) -> bool:
        return bool(self._gone)

    def cancel(self, connection: Connection) -> None:
        """Tells that a caller has gone; on the intake thread."""
        if connection in self._connections:
            self._gone.append(connection)  # first: `calls` and `select` look at it last
            for part in self._parts:
                part.cancel(connection)
            self._cancel(connection)

    def select(self, places: Sequence[int]) -> ReceivedBurst:
        part = ReceivedBurst(self._front, self.known, self.arrived_ns)
        part.settle, part.write, part.begin_record = self.settle, self.write, self.begin_record
        for place in places:
            part.add(self._connections[place], self.payloads[place], self._principals[place])
        part.complete()
        self._parts = (*self._parts, part)
        for connection in tuple(self._gone):
            part.cancel(connection)
        return part

    def calls(self) -> list[Call]:
        known, settle = self.known, self.settle
        self._calls = [
            known.call(connection, payload, self.arrived_ns, principal, known.request_id or made_id())
            for connection, payload, principal in zip(self._connections, self.payloads, self._principals, strict=True)
        ]
        for call in self._calls:
            if settle is not None:
                settle(call)
            if self.begin_record is not None:
                self.begin_record(call)
        for connection in tuple(self._gone):
            self._cancel(connection)
        return list(self._calls)

    def reply(self, payloads: Sequence[bytes]) -> None:
        front, known = self._front, self.known
        is_large = max(map(len, payloads)) > LARGE_BYTES  # written without copies, one by one
        written = None if self.write is None or front.is_draining or is_large else self.write(payloads)
        if written is None:
            for call, payload in zip(self.calls(), payloads, strict=True):
                call.reply(payload)
            return
        fields = known.fields + answers.lines(written.headers)
        request_ids = [known.request_id] * len(payloads) if known.request_id else made_ids(len(payloads))
        data = answers.alike(written.content_type, written.bodies, request_ids, fields)
        front.send(
            [
                (connection, each, b"", len(payload), False)
                for connection, each, payload in zip(self._connections, data, payloads, strict=True)
            ]
        )

    def _cancel(self, connection: Connection) -> None:
        for call, each in zip(self._calls, self._connections, strict=False):
            if each is connection:
                call.cancelled = True
