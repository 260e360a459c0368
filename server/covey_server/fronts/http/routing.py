"""Finds the route that a request means. Paths are only compared with routes, and names in them looked up: nothing here
touches files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

from httptools import HttpParserInvalidURLError, parse_url

from covey_server.calls import status
from covey_server.calls.call import Call
from covey_server.calls.http import Arguments, HttpCall, Route, for_http
from covey_server.calls.service import BurstHandler, Handler
from covey_server.calls.status import Status
from covey_server.errors import InvalidRequest

TIMEOUT = "timeout_ms"
MAX_TIMEOUT_MS = 10**9
_MAX_DIGITS = 12
_MAX_KNOWN_BYTES = 512  # longer targets are not remembered
_MAX_PARAMETERS = 32
_INVALID, _UNIMPLEMENTED = 3, 12  # gRPC's codes


@dataclass(frozen=True)
class Target:
    """What a request's method and target say."""

    handler: Handler
    arguments: Arguments
    query: Arguments
    timeout_ms: int = 0  # 0: none
    is_open: bool = False
    error_members: Sequence[str] = ()
    is_refused: bool = False  # the handler only fails the call
    path: str = ""  # of the route; "" where there is none
    allow: tuple[str, ...] = ()  # methods, in answers to OPTIONS and to a wrong one
    burst_handler: BurstHandler | None = None


class Router:
    """All routes of a server. Remembers what it was asked, since callers ask for the same again and again."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = [(route, tuple(route.path.split("/"))) for route in routes]
        self._members = {route.path.split("/")[1]: route.error_members for route in routes}
        self._known = lru_cache(1024)(self._find)

    def find(self, method: bytes, target: bytes) -> Target:
        """The route of a request. Where there is none, one whose handler says so."""
        return self._known(method, target) if len(target) <= _MAX_KNOWN_BYTES else self._find(method, target)

    def _find(self, method: bytes, target: bytes) -> Target:
        if (method, target) == (b"OPTIONS", b"*"):  # about the server as a whole
            return Target(for_http(_nothing), {}, {}, is_open=True, allow=("GET", "HEAD", "POST", "PUT", "OPTIONS"))
        try:
            url = parse_url(target)
            path = (url.path or b"").decode("ascii")
            segments = tuple(unquote(segment, errors="strict") for segment in path.split("/"))
            query = _read_query(url.query or b"")
            timeout_ms = _timeout_ms(query.pop(TIMEOUT, "0"))
        except (HttpParserInvalidURLError, ValueError) as error:
            return refusing(
                Status(_INVALID, f"the request's target {_shown(target)} cannot be read: {error}", None, 400)
            )
        except InvalidRequest as error:
            return refusing(status.of(error))
        name = method.decode("ascii", "replace")
        members = self._members.get(segments[1] if len(segments) > 1 else "", ())
        allowed: list[str] = []
        for route, arguments in self._at(segments):
            if name in route.methods or (name == "HEAD" and "GET" in route.methods):
                return Target(
                    route.handler, arguments, query, timeout_ms, route.is_open, route.error_members,
                    path=route.path, burst_handler=route.burst_handler,
                )  # fmt: skip
            allowed += route.methods
        if not allowed:
            near = self._near(name, path)
            instead = f"there is {_shown(near.encode())}" if near else "/docs shows what is"
            text = f"there is nothing at {_shown(path.encode())}; {instead}"
            return refusing(Status(_UNIMPLEMENTED, text, None, HTTPStatus.NOT_FOUND), members)  # as gRPC has it
        if "GET" in allowed:
            allowed.append("HEAD")
        allow = tuple(dict.fromkeys((*allowed, "OPTIONS")))
        if name == "OPTIONS":
            return Target(for_http(_nothing), {}, {}, is_open=True, allow=allow)
        text = f"{name[:20]} is not answered at this path; use {' or '.join(allow[:-1])}"
        return refusing(Status(_UNIMPLEMENTED, text, None, HTTPStatus.METHOD_NOT_ALLOWED), members, allow)

    def _near(self, method: str, path: str) -> str:
        """The path that one with a slash too many means. `curl -T FILE` puts the file's name behind a last one."""
        named = [each for each in path.split("/") if each]
        for meant in (named, named[:-1]):
            near = ["", *meant]
            for route, _ in self._at(tuple(map(unquote, near))):
                if method in route.methods and (meant is named or method == "PUT"):
                    return "/".join(near)
        return ""

    def _at(self, segments: tuple[str, ...]) -> Iterator[tuple[Route, dict[str, str]]]:
        """The routes of a path, and what it has for their names in braces."""
        for route, pattern in self._routes:
            if (arguments := _match(pattern, segments)) is not None:
                yield route, arguments


def refusing(status: Status, error_members: Sequence[str] = (), allow: tuple[str, ...] = ()) -> Target:
    """A target whose calls fail."""

    def fail(call: Call) -> None:
        call.fail(status)

    return Target(fail, {}, {}, error_members=error_members, is_refused=True, allow=allow)


def _nothing(call: HttpCall) -> None:
    call.answer_status, call.answer_type = HTTPStatus.NO_CONTENT, ""
    call.reply(b"")


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> dict[str, str] | None:
    if len(pattern) != len(segments):
        return None
    arguments = {}
    for wanted, segment in zip(pattern, segments, strict=True):
        if wanted.startswith("{") and segment:
            arguments[wanted[1:-1]] = segment
        elif wanted != segment:
            return None
    return arguments


def _read_query(query: bytes) -> dict[str, str]:
    """Raises ValueError for a query that cannot be read, InvalidRequest for a name that comes twice."""
    pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidRequest(f"the query parameter {name[:64]!r} comes more than once; give it once")
        found[name] = value
    return found


def _timeout_ms(text: str) -> int:
    """Raises InvalidRequest."""
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS) or int(text) > MAX_TIMEOUT_MS:
        raise InvalidRequest(
            f"{TIMEOUT} is {text[:64]!r}; expected a whole number of milliseconds up to {MAX_TIMEOUT_MS:,}, or "
            f"nothing for no limit"
        )
    return int(text)


def _shown(target: bytes) -> str:
    return repr(target[:200].decode("latin-1"))
