"""How to reach servers: their addresses, the channel's options, a call's deadline. Opens nothing itself."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from numbers import Real
from typing import Any
from urllib.parse import urlsplit

from covey.errors import InvalidInput

DEFAULT_TARGET = "localhost:8001"
DEFAULT_HTTP_TARGET = "http://localhost:8000"
DEFAULT_DEADLINE_MS = 10_000.0
_MAX_DEADLINE_MS = 1_000_000_000  # more than that, timers of some systems cannot count
_NUMBERS: Any = (float, int, Real)  # Real alone is all of them, found more slowly
_DEFAULT_PORT = 8001
_LOCAL = re.compile(r"((dns|ipv4|ipv6):/{0,3}|https?://)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?(/.*)?")
_SCHEMES = ("unix:", "dns:", "ipv4:", "ipv6:")  # gRPC's own, where no // follows
_URL = re.compile(r"https?://", re.IGNORECASE)

CHANNEL_OPTIONS = (
    # The server decides how large a message may be; gRPC's own 4 MB would only hide its answer.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # After a restart of the server the next call finds it soon, not after gRPC's up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # gRPC's clients of one address in a process share a connection, and its back-off: a new client would fail at once
    # where another one has just found the server down.
    ("grpc.use_local_subchannel_pool", 1),
    # A peer that vanished without a word is found: by a ping while a call is under way that nobody answers, and by
    # bytes that stay unacknowledged, each for 5 s. (Covey's servers allow a ping every
    # 10 s; others' may hang up on more than one every 5 minutes without data.)
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    # Where a name has several addresses: all of them take their share.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)


def normalised_targets(target: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses of one or several servers, each as `normalised_target` gives it. A string may hold several,
    separated by commas. Raises InvalidInput where one cannot be, or where there is none."""
    given = _given_targets(target)
    if not given:
        raise InvalidInput(f"there is no target; give a host and port, as in {DEFAULT_TARGET!r}")
    targets = tuple(dict.fromkeys(normalised_target(one) for one in given))
    if len(kinds := {_kind(one) for one in targets}) > 1:
        raise InvalidInput(f"the targets are of several kinds, {', '.join(sorted(kinds))}; give those of one kind")
    return targets


def is_url(target: str) -> bool:
    """Whether a target is reached over HTTP."""
    return _URL.match(target) is not None


def _kind(target: str) -> str:
    return f"{target.partition('://')[0]}://" if is_url(target) else "gRPC"


def _given_targets(target: object) -> list[str]:
    if isinstance(target, str):
        one_for_grpc = not is_url(target) and ("://" in target or target.startswith(_SCHEMES))
        return [target] if one_for_grpc else [one.strip() for one in target.split(",")]
    given: list[str] = []
    for one in target if isinstance(target, Sequence) and not isinstance(target, bytes) else [target]:
        if not isinstance(one, str):
            raise InvalidInput(f"a target is a str, as {DEFAULT_TARGET!r}, not a {type(one).__name__}")
        given.append(one)
    return given


def normalised_target(target: str) -> str:
    """`target` as gRPC takes it: `host:port` (8001 where no port is given), `dns:///...`, `unix:...`; or a URL of HTTP
    without a slash at its end.

    Raises InvalidInput for what is neither, and for an empty address.
    """
    if is_url(target):
        return _normalised_url(target)
    scheme, separator, rest = target.partition("://")
    if separator and scheme in ("grpc", "grpcs"):
        raise InvalidInput(f"the target {target!r} is a URL; give host and port alone: {rest.rstrip('/')!r}")
    if not target.strip():
        raise InvalidInput(f"the target is empty; give a host and port, as in {DEFAULT_TARGET!r}")
    if separator or target.startswith(_SCHEMES):
        return target
    host, colon, port = target.rpartition(":")
    if target.startswith("["):
        bracketed, _, after = target.partition("]")
        host, colon, port = f"{bracketed}]", after[:1], after[1:]
    elif target.count(":") > 1:
        raise InvalidInput(f"the target {target!r} is an IPv6 address without brackets; write [::1]:{_DEFAULT_PORT}")
    if not colon:
        return f"{target}:{_DEFAULT_PORT}"
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise InvalidInput(f"the target {target!r} has the port {port!r}; expected 1 to 65535, as in {host}:8001")
    return target


def _normalised_url(target: str) -> str:
    expected = "expected http:// or https://, a host, and what else is needed of port and path, as in"
    try:
        url = urlsplit(target)
        port = "" if url.port is None else f":{url.port}"
    except ValueError as error:
        raise InvalidInput(f"the target {target!r} cannot be read: {error}; {expected} 'http://host:8000'") from error
    if not url.hostname or url.port == 0 or not target.isascii() or any(each <= " " for each in target):
        raise InvalidInput(f"the target {target!r} names no server; {expected} 'http://host:8000'")
    if url.username is not None or url.query or url.fragment:
        shown = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
        raise InvalidInput(
            f"the target has a user, a query or a fragment beside {shown!r}; {expected} 'http://host:8000' (a token is "
            f"given by token=)"
        )
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def is_local(target: str) -> bool:
    """Whether what is sent to a normalised target stays on this machine."""
    return target.startswith("unix:") or _LOCAL.fullmatch(target) is not None


class Deadline:
    """The end of one call, which may take several requests.

    Raises InvalidInput for a `duration_ms` that is no number above 0, or more than 11 days.
    """

    def __init__(self, duration_ms: float) -> None:
        self.duration_ms = _milliseconds(duration_ms)
        self.end_s = time.monotonic() + self.duration_ms / 1_000

    def remaining_s(self) -> float:
        return max(0.0, self.end_s - time.monotonic())


def _milliseconds(given: Any) -> float:  # noqa: ANN401 - whatever a caller gives
    if not isinstance(given, _NUMBERS) or not 0 < given < math.inf:
        raise InvalidInput(f"deadline_ms must be a number of milliseconds above 0, not {given!r}")
    if given > _MAX_DEADLINE_MS:
        raise InvalidInput(f"deadline_ms is at most {_MAX_DEADLINE_MS:,} (11 days), not {given!r}")
    return float(given)
