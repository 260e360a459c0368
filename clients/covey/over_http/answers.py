"""What an answer of HTTP means: a message, or a failed call with a status of gRPC. Knows no HTTP library."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError

from covey.failures import Failure

ResponseT = TypeVar("ResponseT")

PROTOBUF = "application/x-protobuf"
_PROBLEM = "application/problem+json"
_MAX_WORDS = 160  # of a page that is no Covey server's
_MAX_READ = 4_096  # of a page, to find words in
_MAX_DIGITS = 6  # of a Retry-After

# For answers that do not say it themselves, such as a proxy's. As gRPC reads them
# (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md), where HTTP has no closer word.
_STATUSES = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    405: "UNIMPLEMENTED",
    408: "UNAVAILABLE",  # some proxies say it as they close a connection that was silent
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    431: "INVALID_ARGUMENT",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "UNAVAILABLE",
}
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


def message(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """The message of an answer. Raises Failure. `headers` has its names in lower case, or does not mind."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == HTTPStatus.OK and kind == PROTOBUF:
        return body
    retry_after_ms = _retry_after_ms(headers)
    problem = _problem(kind, body)
    if problem is not None:
        raise Failure(*problem, retry_after_ms)
    name = _STATUSES.get(status, "UNKNOWN" if status >= 400 else "UNIMPLEMENTED")
    raise Failure(name, _words(status, headers, kind, body), retry_after_ms)


def parsed(parse: Callable[[bytes], ResponseT], message: bytes) -> ResponseT:
    """Raises Failure where it is no message of that kind."""
    try:
        return parse(message)
    except DecodeError as error:
        raise Failure("INTERNAL", f"the answer is no message of the kind that was expected: {error}") from error


def _problem(kind: str, body: bytes) -> tuple[str, str] | None:
    """Status and words of a Covey server's error; None where it is none."""
    if kind != _PROBLEM:
        return None
    try:
        found = json.loads(body)
        name, details = found["grpc_status"], found["detail"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    known = isinstance(name, str) and isinstance(details, str) and name in grpc.StatusCode.__members__
    return (name, details) if known else None


def _words(status: int, headers: Mapping[str, str], kind: str, body: bytes) -> str:
    """What somebody other than a Covey server answered."""
    phrase = f"HTTP {status} {HTTPStatus(status).phrase}" if status in _PHRASED else f"HTTP {status}"
    if 300 <= status < 400:
        where = headers.get("location", "")[:_MAX_WORDS]
        return f"{phrase}: it sends callers to {where!r}; give the address where the server itself is"
    if status == HTTPStatus.OK:
        phrase += f", {kind or 'of no type'}, in place of a message"
    text = body[:_MAX_READ].decode("utf-8", "replace") if kind.startswith(("text/", "application/")) else ""
    title = _TITLE.search(text)
    words = " ".join(_TAG.sub(" ", title[1] if title else text).split())
    says_more = words and words.isprintable() and not phrase.endswith(words)  # nginx only repeats the status
    return f"{phrase}: {words[:_MAX_WORDS]}" if says_more else phrase


_PHRASED = {each.value for each in HTTPStatus}


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The hint, in the server's milliseconds or a proxy's seconds. A date is none."""
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1_000)):
        text = headers.get(name, "").strip()
        if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
            return int(text) * factor
    return None
