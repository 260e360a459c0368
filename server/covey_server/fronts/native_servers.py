"""The Rust servers under the native front: one that takes connections, and those it replaced, until they are idle.

pygrpc-native asks for a token before it reads or unfolds a call's message, which nothing above it can do: 1 MB of gzip
is 1 GB by the time that Python sees it. It takes the tokens' digests once, though, when it is built. So where tokens
change, a new server opens on the same port, and the old one closes: its clients connect again.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pygrpc_native import NativeGrpcFront

from covey_server.fronts import MAX_METADATA_BYTES
from covey_server.fronts.intake import Intake
from covey_server.fronts.port_sockets import listeners, peers, reading_stopped, stop_listening
from covey_server.fronts.security.tokens import HEADER, NOT_VALID, Tokens

log = logging.getLogger(__name__)

IO_THREADS = 1  # of the Rust runtime; more only wins with more cores than the models use
_UNAUTHENTICATED = 16
RETIRED_S = 30.0  # for a server that was replaced to answer its calls and to end its streams
_SETTLED_S = 0.03
_DRAIN_S = 1.0  # for the calls of a server that is to be closed, while nothing more is read from its connections

# What it says 20 times a second of a listener that was stopped, until it is closed.
logging.getLogger("pygrpc_native.server").addFilter(lambda record: "(os error 22)" not in record.getMessage())


@dataclass
class _Server:
    front: NativeGrpcFront
    digests: tuple[bytes, ...] | None
    intake: Intake | None = None
    retired_at_s: float = 0.0
    peers: frozenset[object] = frozenset()  # once it is retired


class NativeServers:
    """The servers at one address. `tokens` None: everybody may call."""

    def __init__(self, address: str, methods: Sequence[tuple[str, bool]], tokens: Tokens | None) -> None:
        """Opens the first server. Raises OSError where the address cannot be bound."""
        self._methods = list(methods)
        self._tokens = tokens
        self._fallback = ""
        self._taker: Callable[[NativeGrpcFront], Callable[[], bool]] | None = None
        self._changing = threading.Lock()
        self._closed = False
        self._refused_before = 0  # by servers that are closed
        if tokens is not None:
            _require_free(address)
        self._current = self._open(address)
        self._retired: list[_Server] = []
        self.port = self._current.front.bound_port
        self._address = f"{address.rpartition(':')[0]}:{self.port}"

    def set_fallback(self, path: str) -> None:
        """What is not served here goes to the Unix socket at `path`."""
        self._fallback = path
        self._current.front.set_fallback(path)

    def start(self, taker: Callable[[NativeGrpcFront], Callable[[], bool]]) -> None:
        """Takes connections. `taker` gives for each server what its intake does again and again, until it is closed."""
        self._taker = taker
        self._start(self._current)

    def take_over(self, thread: int) -> None:
        """The thread of this ident is held up: where it takes calls, another does from now on."""
        for server in self._all:
            if server.intake is not None:
                server.intake.take_over(thread)

    def renew(self, open_streams: int) -> None:
        """Follows the tokens. A server that was replaced is closed as soon as its calls are answered and no streams are
        open: clients send what it has not read again, to its successor. After 30 s it is closed in any case, which ends
        with UNAVAILABLE what is still open."""
        tokens = self._tokens
        if tokens is None:
            return
        with self._changing:
            if self._closed:
                return
            if tokens.digests != self._current.digests:
                self._replace()
            for server in self._retired[:]:
                overdue = time.monotonic() > server.retired_at_s + RETIRED_S
                if not overdue and open_streams:
                    continue
                with reading_stopped(self.port, server.peers):
                    if _becomes_idle(server.front) or overdue:
                        self._refused_before += _refused(server.front)
                        server.front.close()
                        self._retired.remove(server)

    @property
    def unfinished(self) -> int:
        """Calls whose answer is not on the wire."""
        return sum(_unfinished(server.front) for server in self._all)

    @property
    def refused(self) -> int:
        """Calls that ended with UNAUTHENTICATED."""
        return self._refused_before + sum(_refused(server.front) for server in self._all)

    def close(self, join_s: float = 0.0) -> None:
        """Closes all connections, and waits at most `join_s` for each thread."""
        with self._changing:
            self._closed = True
            for server in self._all:
                server.front.close()
                if server.intake is not None:
                    server.intake.join(join_s)  # longer only where a batch hangs that it runs itself

    @property
    def _all(self) -> list[_Server]:
        return [self._current, *self._retired]

    def _open(self, address: str) -> _Server:
        digests = self._tokens.digests if self._tokens is not None else None
        # metrics: the only way to know, when stopping, that every answer is on the wire
        # client_key_metadata: the header that each call is handed over with; without it comes the peer, as a str
        front = NativeGrpcFront(
            address,
            self._methods,
            io_threads=IO_THREADS,
            call_details=True,
            metrics=True,
            client_key_metadata=HEADER,
            bearer_token_sha256=digests,
            unauthenticated_message=NOT_VALID,
            max_metadata_size=MAX_METADATA_BYTES,
            reuse_port=digests is not None,
        )
        return _Server(front, digests)

    def _start(self, server: _Server) -> None:
        assert self._taker is not None, "this is a bug: a server that nobody takes calls of"
        server.front.start()
        server.intake = Intake("native-front", self._taker(server.front))
        server.intake.start()

    def _replace(self) -> None:
        found = listeners(self.port)
        successor = None
        try:
            successor = self._open(self._address)
            if self._fallback:
                successor.front.set_fallback(self._fallback)
            if self._taker is not None:
                self._start(successor)
        except (OSError, RuntimeError) as error:  # no more files, no more threads
            for each in found:
                each.close()
            if successor is not None:
                successor.front.close()
            log.error("new tokens are not taken up yet: no second server on %s: %s", self._address, error)
            return
        stop_listening(found)  # else connections would still come to either
        self._current.peers = peers(self.port)
        self._current.retired_at_s = time.monotonic()
        self._retired.append(self._current)
        self._current = successor


def _becomes_idle(front: NativeGrpcFront) -> bool:
    """Whether all calls are answered, and stay so for a moment: what was read before reading stopped may yet begin."""
    give_up = time.monotonic() + _DRAIN_S
    idle_since = None
    while (now := time.monotonic()) < give_up:
        if _unfinished(front):
            idle_since = None
        elif idle_since is None:
            idle_since = now
        elif now > idle_since + _SETTLED_S:
            return True
        time.sleep(0.001)
    return False


def _unfinished(front: NativeGrpcFront) -> int:
    metrics = front.metrics() or {"methods": {}}
    return sum(
        method["started"] - sum(status["count"] for status in method["status"].values())
        for method in metrics["methods"].values()
    )


def _refused(front: NativeGrpcFront) -> int:
    metrics = front.metrics() or {"methods": {}}
    statuses = [method["status"].get(_UNAUTHENTICATED) for method in metrics["methods"].values()]
    return sum(status["count"] for status in statuses if status is not None)


def _require_free(address: str) -> None:
    """Raises OSError where somebody listens there: two servers that may share a port would do so silently."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return
    for family, kind, _, _, place in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        with contextlib.closing(socket.socket(family, kind)) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind(place)
