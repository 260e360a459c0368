"""The fast front: pygrpc-native, which does HTTP/2 and gRPC in Rust, without the interpreter's lock.

Serves unary methods over plaintext. What it lacks (bidirectional streams, health, reflection) a grpcio front behind it
serves, on a Unix socket. The import raises ImportError if pygrpc-native is not installed.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from covey_server.calls.service import Services
from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration, PortUnavailable
from covey_server.fronts import Front
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native_calls import NativeBurst, OpenCalls
from covey_server.fronts.native_servers import NativeServers
from covey_server.fronts.private_socket import PrivateSocket, sweep
from covey_server.fronts.security import Security

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

    from covey_server.fronts.native_calls import CallEvent
    from covey_server.fronts.security.tokens import Tokens

log = logging.getLogger(__name__)

_BURST = 128  # calls handed over at once
_PASS_ON_S = 0.25  # for streams' last answers to get from the front behind to the network; nothing tells when


class NativeFront(Front):
    """The native server at "host:port", and the grpcio front behind it."""

    name = "native"
    tells_written = False

    def __init__(
        self,
        address: str,
        services: Services,
        max_message_bytes: int,
        max_stream_bytes: int,
        security: Security,
        *,
        shares_port: bool = False,
    ) -> None:
        """As GrpcioFront, without TLS. Raises PortUnavailable if the address cannot be bound, InvalidConfiguration if
        there is no place for the socket."""
        paths = {path: handler for service in services.all for path, handler in service.paths.items()}
        together = {path: handler for service in services.all for path, handler in service.burst_paths.items()}
        methods = [(path, False) for path in paths]
        self._handlers = [(handler, together.get(path)) for path, handler in paths.items()]
        self._services = services
        sweep()
        self._tokens = security.tokens
        self._refused_here = 0  # calls with a token that was revoked after the Rust server was built
        try:
            self._servers = NativeServers(address, methods, security.tokens, shares_port=shares_port)
        except OSError as error:
            raise PortUnavailable(
                f"gRPC cannot listen on {address}: {error}; choose others with --host and --grpc-port"
            ) from error
        self.port = self._servers.port
        streams = replace(services, all=[replace(service, handlers={}, burst_handlers={}) for service in services.all])
        with contextlib.ExitStack() as undo:
            undo.callback(self._servers.close)
            try:
                self._socket = PrivateSocket()
                undo.callback(self._socket.remove)
                self._behind = GrpcioFront(self._socket.address, streams, max_message_bytes, max_stream_bytes, security)
            except (OSError, PortUnavailable) as error:
                raise InvalidConfiguration(
                    f"the native front needs a socket in the temporary folder: {error.__cause__ or error}; set TMPDIR "
                    f"to a folder that can be written, with a path of at most 80 characters, or use --front grpcio"
                ) from error
            undo.pop_all()
        self._servers.set_fallback(self._socket.path)
        self.handed = {}
        self.streams = self._behind.streams

    @property
    def refused_tokens(self) -> int:
        return self._servers.refused - self._refused_here

    def renew(self) -> None:
        self._servers.renew(self.streams.count)

    def start(self) -> None:
        """Begins to take calls."""
        self._behind.start()
        self._servers.start(self._taker)

    def set_ready(self, ready: bool) -> None:
        self._behind.set_ready(ready)

    def set_live(self, live: bool) -> None:
        self._behind.set_live(live)

    def take_over(self, thread: int) -> None:
        self._servers.take_over(thread)

    def stop(self, flush_s: float) -> None:
        """Waits at most `flush_s` until all answers are written, then closes all connections. Calls that come meanwhile
        wait, and are refused at the end."""
        streams = self.streams.count
        self._behind.stop(flush_s)
        if streams:
            time.sleep(_PASS_ON_S)
        self._servers.stop(flush_s)
        self.remove_files()

    def remove_files(self) -> None:
        """Removes the socket's files, if it has any."""
        self._socket.remove()

    def _taker(self, front: NativeGrpcFront) -> Callable[[], bool]:
        """What an intake thread of a server repeats: takes a burst of calls and hands it over."""
        open_calls: OpenCalls = {}

        def take() -> bool:
            events = front.recv_batch_details(_BURST)
            if events is None:
                return False
            self._hand_over(front, events, open_calls)
            return True

        return take

    def _hand_over(self, front: NativeGrpcFront, events: list[DetailedEvent], open_calls: OpenCalls) -> None:
        arrived_ns = time.monotonic_ns()
        calls = cast("list[CallEvent]", [event for event in events if event[0] == EVENT_CALL])
        gone = [event[1] for event in events if event[0] != EVENT_CALL] if len(calls) < len(events) else ()
        principals = None
        if self._tokens is not None:
            calls, principals = self._identify(front, calls, self._tokens)
        bursts = []
        for method, places in _by_method(calls):
            some = calls if places is None else [calls[place] for place in places]
            names = principals if places is None or principals is None else [principals[place] for place in places]
            burst = NativeBurst(some, arrived_ns, names, front, open_calls)
            burst.count_bytes(self.handed)
            bursts.append((*self._handlers[method], burst))
        for call_id in gone:  # perhaps of these very calls
            if (cancelled := open_calls.pop(call_id, None)) is not None:
                cancelled.cancel(call_id)
        self._services.serve_bursts(bursts, inline=True)

    def _identify(
        self, front: NativeGrpcFront, calls: list[CallEvent], tokens: Tokens
    ) -> tuple[list[CallEvent], list[str]]:
        """The calls that brought a valid token, and whose they are; refuses the others."""
        valid, principals = [], []
        for call in calls:
            found = tokens.identify(call[4])
            if isinstance(found, Status):
                self._refused_here += 1
                front.fail(call[1], found.code, found.message)
            else:
                valid.append(call)
                principals.append(found)
        return valid, principals


def _by_method(calls: list[CallEvent]) -> Iterable[tuple[int, list[int] | None]]:
    """The methods that are called, and the places of each one's calls; None if it is all of them."""
    methods = {call[2] for call in calls}
    if len(methods) == 1:
        return [(methods.pop(), None)]
    return [(method, [place for place, call in enumerate(calls) if call[2] == method]) for method in methods]
