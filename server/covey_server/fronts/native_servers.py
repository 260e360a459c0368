"""The Rust servers of the native front: one that takes connections, and replaced ones until they are idle.

pygrpc-native checks tokens before it reads or unpacks a call's message. Only it can: 1 MB of gzip is 1 GB by the time
Python sees it. But it takes the tokens' digests only when it is built. So when tokens change, a new server opens on the
same port and the old one closes; its clients connect again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pygrpc_native import NativeGrpcFront

from covey_server.fronts import MAX_METADATA_BYTES, sockets
from covey_server.fronts.intake import Intake
from covey_server.fronts.port_sockets import (
    connections,
    discard_until_closed,
    inode,
    listeners,
    reading_stopped,
    stop_listening,
)
from covey_server.fronts.security.tokens import HEADER, NOT_VALID, Tokens
from covey_server.system.ports import require_free

log = logging.getLogger(__name__)

IO_THREADS = 1  # of the Rust runtime; more help only with more cores than the models use
_UNAUTHENTICATED = 16
RETIRED_S = 30.0  # for a replaced server to answer its calls and end its streams
_SETTLED_S = 0.03
_DRAIN_S = 1.0  # for the calls of a server that is about to close, while its connections are not read
_CLOSE_S = 1.0  # for clients to close their connections to a server that is closed
_QUIET_S = 0.02  # without another byte: all is written that callers accept
_CONTROL_BYTES = 64  # per connection in that time: HTTP/2's control frames, and no answer
_REFUSAL_BYTES = 256  # at most, of the answer to an invalid token, which pygrpc-native sends by itself
_REFUSE_S = 0.5  # to refuse the calls that waited

# It logs this 20 times a second for a stopped listener, until it is closed.
logging.getLogger("pygrpc_native.server").addFilter(lambda record: "(os error 22)" not in record.getMessage())


@dataclass
class _Server:
    front: NativeGrpcFront
    digests: tuple[bytes, ...] | None
    intake: Intake | None = None
    retired_at_s: float = 0.0
    # Once it is retired, by inode: those there were then, which may include other servers', and those surely its own.
    connections: frozenset[int] = frozenset()
    own: frozenset[int] = frozenset()


class NativeServers:
    """The servers at one address. `tokens` None: anybody may call."""

    def __init__(
        self, address: str, methods: Sequence[tuple[str, bool]], tokens: Tokens | None, *, shares_port: bool = False
    ) -> None:
        """Opens the first server. `shares_port`: with other processes of this server. Raises OSError where the address
        cannot be bound."""
        self._methods = list(methods)
        self._tokens = tokens
        self._shares_port = shares_port
        self._fallback = ""
        self._taker: Callable[[NativeGrpcFront], Callable[[], bool]] | None = None
        self._changing = threading.Lock()
        self._closed = False
        self._refused_before = 0  # by servers that are closed
        if tokens is not None and not shares_port:
            require_free(address)
        self._current = self._open(address)
        self._retired: list[_Server] = []
        self.port = self._current.front.bound_port
        self._address = f"{address.rpartition(':')[0]}:{self.port}"

    def set_fallback(self, path: str) -> None:
        """Sends calls of methods that are not served here to the Unix socket at `path`."""
        self._fallback = path
        self._current.front.set_fallback(path)

    def start(self, taker: Callable[[NativeGrpcFront], Callable[[], bool]]) -> None:
        """Takes connections. `taker` makes, for each server, the function that its intake thread repeats."""
        self._taker = taker
        self._start(self._current)

    def take_over(self, thread: int) -> None:
        """Tells that this thread is held up: if it takes calls, another one does from now on."""
        for server in self._all:
            if server.intake is not None:
                server.intake.take_over(thread)

    def renew(self, open_streams: int) -> None:
        """Follows the tokens. A replaced server is closed as soon as its calls are answered and no streams are open;
        clients send again what it has not read, to its successor. After 30 s it is closed in any case; calls that are
        still open then end with UNAVAILABLE."""
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
                with reading_stopped(self.port, server.connections) as stopped:
                    if _becomes_idle(server.front) or overdue:
                        self._refused_before += _refused(server.front)
                        server.front.close()
                        self._retired.remove(server)
                        # Not of others: what came by a connection that is served would be lost.
                        discard_until_closed([each for each in stopped if inode(each) in server.own], _CLOSE_S)

    @property
    def refused(self) -> int:
        """How many calls ended with UNAUTHENTICATED."""
        return self._refused_before + sum(_refused(server.front) for server in self._all)

    def stop(self, flush_s: float) -> None:
        """Waits at most `flush_s` until the answers that were given are on the wire, then closes all connections.

        Callers who go on calling do not prolong it: their calls wait, and are refused together at the end, once no
        more of them are read.
        """
        with self._changing:
            self._closed = True  # the tokens are followed no longer
        if flush_s > 0:
            for server in self._all:
                if server.intake is not None:
                    server.intake.pause()
            self._wait_until_written(flush_s)
            with reading_stopped(self.port, connections(self.port)):
                stop_listening(listeners(self.port))
                for server in self._all:
                    if server.intake is not None:
                        server.intake.resume()
                self._wait_until_written(min(flush_s, _REFUSE_S))
        self.close(flush_s)

    def close(self, join_s: float = 0.0) -> None:
        """Closes all connections, and waits at most `join_s` for each thread."""
        with self._changing:
            self._closed = True
            for server in self._all:
                server.front.close()
                if server.intake is not None:
                    server.intake.join(join_s)  # takes long only if it runs a batch that hangs

    def _wait_until_written(self, timeout_s: float) -> None:
        """Until no more answers get onto the wire. A call counts as finished while much of a large answer still waits
        for its caller to take the rest: of 500 answers of 60 KB a third of the stops lost some. So look at what the
        kernel was given, where it tells (Linux). Nothing tells when all is written: poll, only while stopping."""
        give_up = time.monotonic() + timeout_s
        seen = sockets.Sockets(self.port) if sockets.IS_AVAILABLE else None
        numbers = seen.look()[0] if seen is not None else {}
        answers, written_bytes, refusals = -1, 0, 0
        while time.monotonic() < give_up:
            before = answers, written_bytes, refusals
            figures = [seen.figures(number) for number in numbers] if seen is not None else []
            written_bytes = sum(each.written_bytes for each in figures if each is not None)
            refusals = self.refused
            answers = sum(_finished(server.front) for server in self._all) - refusals
            other_bytes = _CONTROL_BYTES * len(numbers) + _REFUSAL_BYTES * (refusals - before[2])
            if answers == before[0] and written_bytes - before[1] <= other_bytes:
                return
            time.sleep(_QUIET_S)

    @property
    def _all(self) -> list[_Server]:
        return [self._current, *self._retired]

    def _open(self, address: str) -> _Server:
        digests = self._tokens.digests if self._tokens is not None else None
        # metrics: the only way to know, when stopping, that every answer is written
        # client_key_metadata: the header handed over with each call; if it is missing, the peer is, as a str
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
            reuse_port=self._shares_port or digests is not None,
        )
        return _Server(front, digests)

    def _start(self, server: _Server) -> None:
        assert self._taker is not None, "a server whose calls nobody takes; this is a bug"
        server.front.start()
        server.intake = Intake("native-front", self._taker(server.front))
        server.intake.start()

    def _replace(self) -> None:
        found = listeners(self.port)
        others = frozenset[int]().union(*(server.connections for server in self._retired))
        own = connections(self.port) - others  # before there is a successor that takes connections, too
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
        stop_listening(found)  # else both servers would get connections
        self._current.own, self._current.connections = own, connections(self.port)
        self._current.retired_at_s = time.monotonic()
        self._retired.append(self._current)
        self._current = successor


def _becomes_idle(front: NativeGrpcFront) -> bool:
    """Waits until all calls are answered for a moment: calls that were read before may still begin. False: in vain."""
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
    started: list[int] = [method["started"] for method in metrics["methods"].values()]
    return sum(started) - _finished(front)


def _finished(front: NativeGrpcFront) -> int:
    metrics = front.metrics() or {"methods": {}}
    counts: list[int] = [s["count"] for method in metrics["methods"].values() for s in method["status"].values()]
    return sum(counts)


def _refused(front: NativeGrpcFront) -> int:
    metrics = front.metrics() or {"methods": {}}
    statuses = [method["status"].get(_UNAUTHENTICATED) for method in metrics["methods"].values()]
    return sum(status["count"] for status in statuses if status is not None)
