"""The bytes of answers: heads, and errors as problem details (RFC 9457)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from covey_server.calls.status import Status

PROBLEM = "application/problem+json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"  # for callers of HTTP/1.0 who asked for it
_NO_BODY = (204, 304)
_TITLES = {**{each.value: each.phrase for each in HTTPStatus}, 499: "Client Closed Request"}
_TITLES |= {413: "Content Too Large", 422: "Unprocessable Content"}  # as RFC 9110 has them, whatever Python's version


@lru_cache(256)
def _begin(status: int, content_type: str) -> bytes:
    kind = f"Content-Type: {content_type}\r\nX-Content-Type-Options: nosniff\r\n" if content_type else ""
    return f"HTTP/1.1 {status} {_TITLES[status]}\r\n{kind}X-Request-Id: ".encode()


@lru_cache(1)
def _date(second: int) -> bytes:
    return time.strftime("\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(second)).encode()


def answer(
    status: int, content_type: str, payload: bytes, rest_bytes: int, request_id: bytes, fields: bytes, *,
    without_body: bool = False,
) -> bytes:  # fmt: skip
    """An answer, but for the last `rest_bytes` of its body. `fields` are further headers, each with its line's end;
    `without_body` is for HEAD."""
    length = b"" if status in _NO_BODY else b"Content-Length: %d\r\n" % (len(payload) + rest_bytes)
    begin = _begin(status, content_type)
    body = b"" if without_body else payload
    return b"".join((begin, request_id, _date(int(time.time())), length, fields, b"\r\n", body))


def alike(content_type: str, bodies: Sequence[bytes], request_ids: Sequence[bytes], fields: bytes) -> list[bytes]:
    """As `answer`, for several with status 200 that have all but their bodies in common."""
    begin, date = _begin(200, content_type), _date(int(time.time()))
    ends = {size: b"%bContent-Length: %d\r\n%b\r\n" % (date, size, fields) for size in set(map(len, bodies))}
    parts = zip(request_ids, bodies, strict=True)
    return [b"".join((begin, request_id, ends[len(body)], body)) for request_id, body in parts]


def stream_head(content_type: str, request_id: bytes, fields: bytes) -> bytes:
    """The head of an answer whose end is that of its connection."""
    return b"".join((_begin(200, content_type), request_id, _date(int(time.time())), fields, CLOSE, b"\r\n"))


def lines(fields: Sequence[tuple[str, str]]) -> bytes:
    """Headers as bytes. Values are the server's own: none holds a line's end."""
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1", "replace")


def problem(status: Status, request_id: bytes, members: Sequence[str]) -> bytes:
    """An error's body. `members`: names under which clients of other servers look for the text, or for the number
    ("code")."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": _TITLES[status.http],
        "status": status.http,
        "detail": status.message,
        "grpc_status": status.name,
        "request_id": request_id.decode(),
    }
    body |= {name: status.http if name == "code" else status.message for name in members}
    return json.dumps(body).encode()


def problem_fields(status: Status) -> bytes:
    """The headers that belong to an error."""
    fields: list[tuple[str, str]] = []
    if status.retry_after_ms is not None:
        fields = [
            ("Retry-After", str(math.ceil(status.retry_after_ms / 1000))),
            ("Retry-After-Ms", str(status.retry_after_ms)),
        ]
    if status.http == HTTPStatus.UNAUTHORIZED:
        fields = [("WWW-Authenticate", "Bearer")]
    return lines(fields)
