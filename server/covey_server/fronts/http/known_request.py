"""What requests said whose lines and headers came before: the next ones that begin with the same bytes are not parsed.

Exact, since equal bytes are read equally: only the body, who calls, and a made request id are new. The bytes are
compared up to the empty line, and the length of the rest is that of the body, so that nothing else is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from covey_server.fronts.http.received import RawHeaders, ReceivedCall
from covey_server.fronts.http.routing import Target

if TYPE_CHECKING:
    from covey_server.fronts.http.connection import Connection

MAX_KNOWN = 256  # of a server; where there are more, all are forgotten, and those in use are soon known again
MAX_KNOWN_BYTES = 2048  # of a line and headers
_END = b"\r\n\r\n"
_NOT_PLAIN = {b"transfer-encoding", b"expect", b"upgrade"}


@dataclass(frozen=True, slots=True, eq=False)
class KnownRequest:
    """`size` are all the bytes of such a request, `body` is where its body begins. `request_id` is the caller's own, or
    empty. `fields` and `line` as in ReceivedCall."""

    size: int
    body: int
    target: Target
    headers: RawHeaders
    authorization: bytes | None
    request_id: bytes
    fields: bytes
    line: bytes

    def call(
        self, connection: Connection, payload: bytes, arrived_ns: int, principal: str, request_id: bytes
    ) -> ReceivedCall:
        """A call that says the same, with a body of its own."""
        return ReceivedCall(
            connection, self.target, self.headers, payload, arrived_ns, principal, request_id, self.fields,
            self.line, close=False,
        )  # fmt: skip


class KnownRequests:
    """By line and headers, for all connections of a server. Only for the intake thread."""

    def __init__(self) -> None:
        self._by_head: dict[bytes, KnownRequest] = {}

    def find(self, data: bytes) -> KnownRequest | None:
        """What the request says that `data` is; None if that is not known."""
        known = self._by_head.get(data[: data.find(_END, 0, MAX_KNOWN_BYTES) + 4])
        return known if known is not None and known.size == len(data) else None

    def add(self, head: bytes, call: ReceivedCall, body_bytes: int) -> None:
        """Keeps what a call said that was just taken, unless such requests have to be read anew each time."""
        headers = dict(call.raw_headers)
        if call.close or call.target.is_refused or headers.keys() & _NOT_PLAIN or len(head) > MAX_KNOWN_BYTES:
            return
        if head.find(_END) + len(_END) != len(head) or int(headers.get(b"content-length", b"0")) != body_bytes:
            return
        if len(self._by_head) >= MAX_KNOWN:
            self._by_head.clear()
        request_id = call.id if headers.get(b"x-request-id") == call.id else b""
        self._by_head[head] = KnownRequest(
            len(head) + body_bytes, len(head), call.target, call.raw_headers, headers.get(b"authorization"), request_id,
            call.fields, call.line,
        )  # fmt: skip
