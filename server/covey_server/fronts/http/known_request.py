"""A request by which the next one that begins with the same bytes is known, without reading it again.

Exact, since equal bytes are read equally: only the body, the token's validity and a made request id are new. One is
kept for each connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from covey_server.fronts.http.received import ReceivedCall

MAX_KNOWN_BYTES = 2048  # of a line and headers
_NOT_PLAIN = {b"transfer-encoding", b"expect", b"upgrade"}


@dataclass(frozen=True, slots=True)
class KnownRequest:
    """`head` are its line and headers, `size` all its bytes. `request_id` is the caller's own, or empty."""

    head: bytes
    size: int
    call: ReceivedCall
    authorization: bytes | None
    request_id: bytes

    @classmethod
    def of(cls, head: bytes, call: ReceivedCall, body_bytes: int) -> KnownRequest | None:
        """Of a call that was just taken; None if such requests have to be read anew each time."""
        headers = dict(call.raw_headers)
        if call.close or call.target.is_refused or headers.keys() & _NOT_PLAIN:
            return None
        if not head.endswith(b"\r\n\r\n") or int(headers.get(b"content-length", b"0")) != body_bytes:
            return None
        request_id = call.request_id if headers.get(b"x-request-id") == call.request_id else b""
        without_body = call.again(b"", 0, call.principal, b"")
        return cls(head, len(head) + body_bytes, without_body, headers.get(b"authorization"), request_id)
