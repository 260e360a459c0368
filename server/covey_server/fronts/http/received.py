"""One request as a call: what was received of it, and the bytes that answer it."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from covey_server.calls import status
from covey_server.calls.call import Buffer, Metadata
from covey_server.calls.http import JSON, LARGE_BYTES, HttpCall
from covey_server.calls.status import Status
from covey_server.errors import RequestError
from covey_server.fronts.http import answers
from covey_server.fronts.http.routing import Target

if TYPE_CHECKING:
    from covey_server.fronts.http.connection import Connection

log = logging.getLogger(__name__)

MAX_ASKED_BYTES = 512  # of the method and target that are shown
RawHeaders = Sequence[tuple[bytes, bytes]]
_ID_START = os.urandom(6).hex().encode() + b"-"  # differs between processes
_numbers = itertools.count(1)


def made_id() -> bytes:
    """A request id, for a caller who sent none."""
    return b"%b%x" % (_ID_START, next(_numbers))


def made_ids(count: int) -> list[bytes]:
    """Several of them."""
    return [b"%b%x" % (_ID_START, number) for number in itertools.islice(_numbers, count)]


class ReceivedCall(HttpCall):
    """A call that a connection has received as a whole, or refused."""

    __slots__ = ("_connection", "_headers", "_principal", "close", "fields", "id", "line", "target")
    holds_answer = True

    def __init__(
        self, connection: Connection, target: Target, headers: RawHeaders, payload: bytes, arrived_ns: int,
        principal: str, request_id: bytes, fields: bytes, line: bytes, *, close: bool,
    ) -> None:  # fmt: skip
        """`fields` are further headers of the answer; `line` are the request's method and target; with `close` the
        connection ends after the answer."""
        # The same as Call.__init__, which would cost each request a third of a microsecond to call.
        self.payload = payload
        self.peer = connection.peer
        self.size_bytes = len(payload)
        self.arrived_ns = arrived_ns
        self.deadline_ns = arrived_ns + target.timeout_ms * 1_000_000 if target.timeout_ms else None
        self.cancelled = False
        self.record = None
        self.arguments = target.arguments
        self.query = target.query
        self.answer_status = 200
        self.answer_type = JSON
        self.answer_headers = ()
        self.write = None
        self.target = target
        self.id = request_id
        self.close = close
        self.fields = fields
        self._connection = connection
        self._headers = headers
        self._principal = principal
        self.line = line

    @property
    def asked(self) -> str:
        return self.line[:MAX_ASKED_BYTES].decode("latin-1")

    @property
    def route(self) -> str:
        return f"{self.line.partition(b' ')[0].decode('latin-1')} {self.target.path}" if self.target.path else ""

    @property
    def request_id(self) -> str:
        return self.id.decode()

    @property
    def is_head(self) -> bool:
        """Whether only the answer's headers are wanted."""
        return self.line.startswith(b"HEAD ")

    @property
    def raw_headers(self) -> RawHeaders:
        """As they came, their names in lower case."""
        return self._headers

    def cancel(self, _: Connection) -> None:
        """Tells that the caller has gone."""
        self.cancelled = True

    @property
    def has_body(self) -> bool:
        """Whether the request has one."""
        return bool(self.payload)

    @property
    def metadata(self) -> Metadata:
        return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers)

    def header(self, name: str) -> str:
        wanted = name.encode()
        return next((value.decode("latin-1") for key, value in self._headers if key == wanted), "")

    @property
    def principal(self) -> str:
        return self._principal

    def reply(self, payload: bytes) -> None:
        counted_bytes = len(payload)
        rest: Buffer = b""
        if self.write is not None:
            try:
                made = self.write(payload)
            except RequestError as error:
                self._fail(status.of(error), counted_bytes)
                return
            payload, rest = made if isinstance(made, tuple) else (made, b"")
        if len(payload) > LARGE_BYTES and not rest:
            payload, rest = b"", payload
        fields = self.fields
        if self.answer_headers:
            fields += answers.lines(self.answer_headers)
        self._send(self.answer_status, self.answer_type, payload, fields, counted_bytes, rest)
        if self.record is not None:
            self.record.end(None, len(payload) + len(rest), self.answer_status)

    def fail(self, status: Status) -> None:
        self._fail(status, 0)  # errors are small, and not counted by admission

    def begin_stream(self) -> bool:
        if self.is_head:
            self.reply(b"")
            return False
        self.close = True  # the connection's end is the answer's
        head = answers.stream_head(self.answer_type, self.id, self.fields + answers.lines(self.answer_headers))
        return self._connection.send_part(self, head)

    def send_part(self, data: bytes) -> bool:
        return self._connection.send_part(self, data)

    def end_stream(self) -> None:
        self._connection.front.send(((self._connection, b"", b"", 0, self.close),))
        if self.record is not None:
            self.record.end(None, 0, self.answer_status)

    def _fail(self, failure: Status, counted_bytes: int) -> None:
        if failure.http == HTTPStatus.INTERNAL_SERVER_ERROR:  # others are refusals, as many as callers cause
            log.info("request %s failed with %d: %s", self.request_id, failure.http, failure.message)
        body = answers.problem(failure, self.id, self.target.error_members)
        self._send(failure.http, answers.PROBLEM, body, self.fields + answers.problem_fields(failure), counted_bytes)
        if self.record is not None:
            self.record.end(failure, len(body), failure.http)

    def _send(
        self, status: int, kind: str, payload: bytes, fields: bytes, counted_bytes: int, rest: Buffer = b""
    ) -> None:
        if self._connection.closes_after(self):
            fields += answers.CLOSE
        data = answers.answer(status, kind, payload, len(rest), self.id, fields, without_body=self.is_head)
        self._connection.front.send(
            ((self._connection, data, b"" if self.is_head else rest, counted_bytes, self.close),)
        )
