"""Which pages in browsers may call: none of other origins, unless `--cors-origin` names theirs."""

from __future__ import annotations

from collections.abc import Mapping

from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration
from covey_server.fronts.http.answers import lines

ANY = "*"
_METHODS = "GET, HEAD, POST, PUT, OPTIONS"
_EXPOSED = "X-Request-Id, Retry-After, Retry-After-Ms, Inference-Header-Content-Length"
_MAX_AGE_S = 600
_INVALID = 3  # gRPC's INVALID_ARGUMENT


class Origins:
    """The origins of `--cors-origin`."""

    def __init__(self, text: str) -> None:
        """Raises InvalidConfiguration unless it is a list such as "https://a.example,https://b.example:8443", or *."""
        self._allowed = frozenset(each.strip().rstrip("/") for each in text.split(",") if each.strip())
        for origin in self._allowed - {ANY}:
            scheme, separator, host = origin.partition("://")
            if scheme not in ("http", "https") or not separator or not host or set(host) & set("/?#@ "):
                raise InvalidConfiguration(
                    f"--cors-origin {origin!r}: expected origins such as https://app.example, separated by commas, or *"
                )

    def check(self, headers: Mapping[bytes, bytes], scheme: str) -> bytes | Status:
        """The headers that an answer to this caller needs; or the status that its call is refused with. A page of the
        server's own needs none, and callers that are no browsers send no origin. Through a proxy that ends TLS, only
        the browser knows that the page is the server's own (Sec-Fetch-Site, which pages cannot set)."""
        origin = headers[b"origin"].decode("latin-1")
        if origin.rstrip("/") in self._allowed or ANY in self._allowed:
            return lines(
                (
                    ("Access-Control-Allow-Origin", ANY if ANY in self._allowed else origin),
                    ("Vary", "Origin"),
                    ("Access-Control-Expose-Headers", _EXPOSED),
                )
            )
        is_own = origin == f"{scheme}://{headers.get(b'host', b'').decode('latin-1')}"
        if is_own or headers.get(b"sec-fetch-site") == b"same-origin":
            return b""
        return Status(
            _INVALID,
            f"pages of {origin[:200]!r} may not call this server; start it with --cors-origin and their origin",
            None,
            403,
        )

    @staticmethod
    def preflight(headers: Mapping[bytes, bytes]) -> bytes:
        """Further headers of the answer to a browser that asks before it calls; none if it does not."""
        if b"access-control-request-method" not in headers:
            return b""
        asked = headers.get(b"access-control-request-headers", b"").decode("latin-1")
        fields = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", str(_MAX_AGE_S))]
        return lines([*fields, ("Access-Control-Allow-Headers", asked)] if asked else fields)
