"""What is wrong with a request's line and headers, found before its body is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from httptools import HttpParserInvalidURLError, parse_url

from covey_server.calls import status
from covey_server.calls.status import Status
from covey_server.errors import RefusalReason, RequestTooLarge, Unsupported, UnsupportedMediaType
from covey_server.fronts.http.routing import Target

if TYPE_CHECKING:
    from covey_server.fronts.http.front import HttpFront

_ONCE = (
    b"host", b"authorization", b"content-encoding", b"content-type", b"inference-header-content-length", b"origin",
    b"transfer-encoding", b"content-length", b"expect",
)  # fmt: skip
_INVALID = 3  # gRPC's INVALID_ARGUMENT
# For the metrics, by the status over HTTP. Missing tokens are counted where tokens are checked.
REASONS: Mapping[int, RefusalReason] = {
    400: "malformed", 403: "origin", 408: "slow", 413: "message_size", 415: "media_type", 417: "malformed",
    421: "host", 429: "share", 431: "header_size", 501: "malformed", 503: "stopping",
}  # fmt: skip
_WRONG_HOST = Status(_INVALID, "expected exactly one Host header, as HTTP/1.1 demands", None, 400)
_NO_CHUNKS = Status(_INVALID, "HTTP/1.0 has no Transfer-Encoding; send Content-Length, or use HTTP/1.1", None, 400)


class Head(NamedTuple):
    """`target`: of the request's line. `headers`: the last of each name; `raw`: all. `version`: of HTTP."""

    target: bytes
    headers: Mapping[bytes, bytes]
    raw: Sequence[tuple[bytes, bytes]]
    version: str


class Found(NamedTuple):
    """`refusal`: what is wrong, if something is. `principal`: who calls. `fields`: headers that the answer needs."""

    refusal: Status | None
    principal: str
    fields: bytes


def check(front: HttpFront, head: Head, target: Target, principal: str) -> Found:
    """What is wrong with a request, whatever its body. `principal`: who calls, by the connection's certificate."""
    headers, fields = head.headers, b""
    if len(headers) < len(head.raw):
        names = [name for name, _ in head.raw]
        double = next((name for name in _ONCE if names.count(name) > 1), None)
        if double is not None:
            text = f"the header {double.decode()!r} comes more than once"
            return Found(Status(_INVALID, text, None, 400), principal, fields)
    if b"host" not in headers and head.version != "1.0":
        return Found(_WRONG_HOST, principal, fields)
    misdirected = front.hosts.check(headers.get(b"host", b""))
    if misdirected is None and not head.target.startswith(b"/"):
        misdirected = front.hosts.check(_host_of(head.target))
    if misdirected is not None:
        return Found(misdirected, principal, fields)
    if b"origin" in headers:
        allowed = front.origins.check(headers, front.scheme)
        if isinstance(allowed, Status):
            return Found(allowed, principal, fields)
        fields = allowed
        if fields and target.allow:
            fields += front.origins.preflight(headers)
    if front.tokens is not None and not target.is_open:
        identified = front.tokens.identify(headers.get(b"authorization"))
        if isinstance(identified, Status):
            return Found(identified, principal, fields)
        principal = identified
    return Found(None, principal, fields)


def _host_of(target: bytes) -> bytes:
    """The name in a target that is a whole URL, as proxies get it; empty in others."""
    try:
        name: bytes = parse_url(target).host or b""
    except HttpParserInvalidURLError:  # the router says so
        return b""
    return b"[%b]" % name if b":" in name else name


def check_body(head: Head, expected_bytes: int, limit: int) -> Status | None:
    """What is wrong with a body that is still to come: of `expected_bytes`, at most `limit`."""
    if expected_bytes > limit:
        return too_large(expected_bytes, limit)
    headers = head.headers
    coding = headers.get(b"transfer-encoding")
    if coding is not None and head.version == "1.0":
        return _NO_CHUNKS
    if coding is not None and coding.lower() != b"chunked":
        return status.of(Unsupported(f"the transfer encoding {_shown(coding)} is not read here; only chunked is"))
    coding = headers.get(b"content-encoding", b"identity")
    if coding.lower() != b"identity":
        return status.of(
            UnsupportedMediaType(
                f"bodies in the encoding {_shown(coding)} are not read here; send it as it is (image files are "
                f"compressed already)"
            )
        )
    expected = headers.get(b"expect", b"100-continue").lower()
    if expected != b"100-continue":
        return Status(_INVALID, f"expectation {_shown(expected)}: only 100-continue is met here", None, 417)
    return None


def too_large(size_bytes: int, limit: int) -> Status:
    """The refusal of a body of `size_bytes` or more."""
    return status.of(
        RequestTooLarge(
            f"the request has {size_bytes:,} bytes or more, at most {limit:,} are taken here; send fewer images per "
            f"call, or start the server with a larger --max-message-bytes"
        )
    )


def _shown(value: bytes) -> str:
    return repr(value[:64].decode("latin-1"))
