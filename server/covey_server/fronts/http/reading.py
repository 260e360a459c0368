"""Reads requests of one connection from its bytes, within limits. The grammar is llhttp's, which refuses what two
servers might read differently: both lengths, folded headers, wrong line ends.

What is wrong with a request is found as early as it can be, most of it before its body is read.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from covey_server.calls.status import Status
from covey_server.fronts.http import answers, limits
from covey_server.fronts.http.heads import Head, check, check_body, too_large
from covey_server.fronts.http.known_request import MAX_KNOWN_BYTES, KnownRequest
from covey_server.fronts.http.limits import CHUNK_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_SENT_AHEAD
from covey_server.fronts.http.received import ReceivedCall, made_id
from covey_server.fronts.http.routing import Target, refusing

if TYPE_CHECKING:
    from covey_server.fronts.http.connection import Connection

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_INVALID = 3  # gRPC's INVALID_ARGUMENT
_LARGE_HEAD = Status(
    _INVALID, f"the request's line and headers exceed {MAX_HEAD_BYTES:,} bytes or {MAX_HEADERS} headers", None, 431
)
_TOO_EAGER = Status(8, f"more than {MAX_SENT_AHEAD} requests were sent ahead; wait for answers", None, 429)
_LARGE_FRAMING = Status(_INVALID, "the body's chunks are mostly framing; send larger ones", None, 400)


class _Refused(Exception):
    """Nothing more of the connection is read."""


class RequestReader:
    """The requests of one connection. `feed` calls the connection's `take` with each that is whole or refused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._front = connection.front
        self._parser: HttpRequestParser | None = HttpRequestParser(self)
        self.is_idle = True  # nothing of a request has come
        self.in_body = False
        self.body_bytes = 0  # of the body that is being read
        self._received = 0  # bytes of the request, its framing included
        self._chunks = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes | bytearray = b""
        self._target: Target | None = None
        self._whole: tuple[ReceivedCall, int] | None = None  # the only request in what was read last, and its number
        self._last_head = b""  # of such a request
        self._without_offer = b""  # the head of a request that offers another protocol, without that offer
        self._principal = ""
        self._fields = b""
        self._request_id = b""

    @property
    def read_bytes(self) -> int:
        """How much to read at once, so that it takes a millisecond at the most."""
        are_tiny = self.body_bytes < limits.TINY_CHUNK_BYTES * self._chunks
        return limits.TINY_READ_BYTES if are_tiny else limits.READ_BYTES

    def feed(self, data: bytes) -> None:
        """Reads bytes. After a refusal or `close` does nothing."""
        parser = self._parser
        if parser is None:
            return
        begins = self.is_idle
        if (
            begins
            and (known := self._front.known.find(data)) is not None
            and (principal := self._principal_of(known)) is not None
        ):
            self._connection.take_known(known, data[known.body :], principal)
            return
        self._received += len(data)
        try:
            while True:
                try:
                    parser.feed_data(data)
                    break
                except HttpParserUpgrade as upgrade:
                    data = data[upgrade.args[0] :]
                    if self._without_offer:
                        # The parser takes what follows for the other protocol. Offers are declined, so it is read anew.
                        parser = self._parser = HttpRequestParser(self)
                        data, self._without_offer = self._without_offer + data, b""
        except HttpParserCallbackError as error:
            if not isinstance(error.__context__, _Refused):
                raise
        except HttpParserError as error:
            self.refuse(Status(_INVALID, f"the request cannot be read: {error}", None, 400))
        else:
            if not self.is_idle:
                self._require_little_framing()
            elif begins:
                self._remember(data)
        self._whole = None  # it holds a body

    def close(self) -> None:
        """Reads nothing more, and forgets what was read."""
        self._parser = None  # it refers to this reader
        self._drop_body()

    def refuse(self, refusal: Status) -> None:
        """Refuses the request that is being read, as the last one."""
        if self._parser is None:
            return
        self._front.count_refusal(refusal)
        self._target = refusing(refusal, () if self._target is None else self._target.error_members)
        self._request_id = self._request_id or made_id()
        self._take(b"", close=True)

    # What the parser calls.

    def on_message_begin(self) -> None:
        self.is_idle = False
        self._url = b""
        self._headers = []
        self._chunks = 0
        self._target = None
        self._fields = b""
        self._request_id = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_body:
            return  # of trailers nothing is used
        self._headers.append((name.lower(), value))
        if len(self._headers) > MAX_HEADERS:
            self._stop(_LARGE_HEAD)

    def on_headers_complete(self) -> None:
        parser, front = self._parser, self._front
        assert parser is not None
        headers = dict(self._headers)
        if b"upgrade" in headers and parser.should_upgrade() and parser.get_method() != b"CONNECT":
            self._without_offer = self._head_without(b"upgrade")
            return
        given_id = headers.get(b"x-request-id", b"")
        is_valid = given_id and _REQUEST_ID.fullmatch(given_id)
        self._request_id = given_id if is_valid else made_id()
        target = front.router.find(parser.get_method(), self._url)
        expected_bytes = int(headers.get(b"content-length", b"0"))
        has_body = expected_bytes > 0 or b"transfer-encoding" in headers
        head = Head(self._url, headers, self._headers, parser.get_http_version())
        found = check(front, head, target, self._connection.principal)
        refusal, self._principal, self._fields = found
        if refusal is None and has_body:
            refusal = check_body(head, expected_bytes, front.limits.max_body_bytes)
        if refusal is not None:
            front.count_refusal(refusal)
            target = refusing(refusal, target.error_members)
        if target.allow:
            self._fields += answers.lines((("Allow", ", ".join(target.allow)),))
        self._target = target
        if self._connection.waiting >= MAX_SENT_AHEAD:
            self._stop(_TOO_EAGER)
        if has_body and target.is_refused:  # it would be read for nothing
            self._take(b"", close=True)
            raise _Refused
        if has_body:
            self.in_body = True
            if headers.get(b"expect", b"").lower() == b"100-continue":
                self._connection.send_continue()

    def on_chunk_header(self) -> None:
        self._chunks += 1

    def on_body(self, data: bytes) -> None:
        self.body_bytes += len(data)
        self._front.unfinished_bytes += len(data)
        if self.body_bytes > self._front.limits.max_body_bytes:
            self._stop(too_large(self.body_bytes, self._front.limits.max_body_bytes))
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytes):
            self._body = bytearray(self._body)  # a list of small pieces would take far more
            self._body += data
        else:
            self._body += data

    def on_message_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        if self._without_offer:
            return
        body = self._body
        self._take(body, close=not parser.should_keep_alive())  # type: ignore[arg-type]  # used as bytes

    def _remember(self, data: bytes) -> None:
        """Keeps the line and headers of a request that came as a whole, once they come for the second time."""
        if self._whole is None:
            return
        call, body_bytes = self._whole
        head = data[: len(data) - body_bytes]
        if head == self._last_head:
            self._front.known.add(head, call, body_bytes)
        self._last_head = head if len(head) <= MAX_KNOWN_BYTES else b""

    def _principal_of(self, known: KnownRequest) -> str | None:
        """Who sends a known request again; None if its token is not valid any more."""
        tokens = self._front.tokens
        if tokens is None or known.target.is_open:
            return self._connection.principal
        identified = tokens.identify(known.authorization)
        return None if isinstance(identified, Status) else identified

    def _take(self, body: bytes, *, close: bool) -> None:
        parser, target = self._parser, self._target
        assert parser is not None
        assert target is not None
        fields = self._fields
        if not close and parser.get_http_version() == "1.0":
            fields += answers.KEEP
        call = ReceivedCall(
            self._connection, target, self._headers, body, self._front.now_ns, self._principal, self._request_id,
            fields, b"%b %b" % (parser.get_method(), self._url), close=close,
        )  # fmt: skip
        self._drop_body()
        self.is_idle = True
        self._whole = (call, len(body)) if self._received and self._whole is None else None
        self._received = self._chunks = 0
        self._request_id = self._fields = b""
        self._connection.take(call)

    def _head_without(self, header: bytes) -> bytes:
        """The line and headers that were read, written again without one."""
        parser = self._parser
        assert parser is not None
        line = b"%b %b HTTP/%b" % (parser.get_method(), self._url, parser.get_http_version().encode())
        rest = [b"%b: %b" % (name, value) for name, value in self._headers if name != header]
        return b"\r\n".join((line, *rest, b"", b""))

    def _require_little_framing(self) -> None:
        """Refuses requests of which far more came than is kept of them: endless headers, trailers, or chunk
        extensions."""
        framing = self._received - self.body_bytes
        if framing > MAX_HEAD_BYTES + CHUNK_BYTES * self._chunks:
            self.refuse(_LARGE_FRAMING if self.in_body else _LARGE_HEAD)

    def _stop(self, refusal: Status) -> None:
        """Refuses the request, from within the parser."""
        self.refuse(refusal)
        raise _Refused

    def _drop_body(self) -> None:
        self._front.unfinished_bytes -= self.body_bytes
        self.body_bytes = 0
        self._body = b""
        self.in_body = False


def timed_out(what: str) -> Status:
    """The refusal of a request that comes too slowly."""
    return Status(4, f"the request's {what} did not come in time", None, HTTPStatus.REQUEST_TIMEOUT)
