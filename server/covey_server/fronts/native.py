"""The fast front: pygrpc-native, which does HTTP/2 and gRPC in Rust, without the interpreter's lock.

Serves unary methods over plaintext. What it lacks (bidirectional streams, health, reflection) a grpcio front behind it
serves, on a Unix socket. The import raises ImportError if pygrpc-native is not installed.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from covey_server.calls.call import Call, Metadata
from covey_server.calls.service import Handler, Services
from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration, PortUnavailable
from covey_server.fronts import CALL_BYTES, sockets
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native_servers import NativeServers
from covey_server.fronts.private_socket import PrivateSocket, sweep
from covey_server.fronts.security import Security

if TYPE_CHECKING:
    from pygrpc_native._native import DetailedEvent

log = logging.getLogger(__name__)

_BURST = 128  # calls handed over at once
_QUIET_S = 0.02  # without another byte on the wire: all is written that is taken
_PASS_ON_S = 0.25  # for streams' last answers to get from the front behind to the network; nothing tells when


class NativeCall(Call):
    """A call that pygrpc-native knows by an id."""

    __slots__ = ("_front", "_id", "_metadata", "_open", "_principal")
    holds_answer = sockets.IS_AVAILABLE  # there the connection guard sees what is written

    def __init__(
        self,
        payload: bytes,
        peer: str,
        arrived_ns: int,
        deadline_ns: int | None,
        metadata: Metadata,
        principal: str,
        front: NativeGrpcFront,
        call_id: int,
        open_calls: dict[int, NativeCall],
    ) -> None:
        # The same as Call.__init__, which would cost each request a third of a microsecond to call.
        self.payload = payload
        self.peer = peer
        self.size_bytes = len(payload)
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False
        self._metadata = metadata
        self._principal = principal
        self._front = front
        self._id = call_id
        self._open = open_calls

    @property
    def metadata(self) -> Metadata:
        return self._metadata

    @property
    def principal(self) -> str:
        return self._principal

    def reply(self, payload: bytes) -> None:
        self._open.pop(self._id, None)
        self._front.respond(self._id, payload)

    def fail(self, status: Status) -> None:
        self._open.pop(self._id, None)
        self._front.fail(self._id, status.code, status.message, status.trailing_metadata)


class NativeFront:
    """The native server at "host:port", and the grpcio front behind it. `Front` describes its methods."""

    name = "native"
    tells_written = False

    def __init__(
        self,
        address: str,
        services: Services,
        max_message_bytes: int,
        max_stream_bytes: int,
        security: Security,
    ) -> None:
        """As GrpcioFront, without TLS. Raises PortUnavailable if the address cannot be bound, InvalidConfiguration if
        there is no place for the socket."""
        paths = {path: handler for service in services.all for path, handler in service.paths.items()}
        methods = [(path, False) for path in paths]
        self._handlers = list(paths.values())
        self._services = services
        sweep()
        self._tokens = security.tokens
        self._refused_here = 0  # calls with a token that was revoked after the Rust server was built
        try:
            self._servers = NativeServers(address, methods, security.tokens)
        except OSError as error:
            raise PortUnavailable(
                f"gRPC cannot listen on {address}: {error}; choose others with --host and --grpc-port"
            ) from error
        self.port = self._servers.port
        streams = replace(services, all=[replace(service, handlers={}) for service in services.all])
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
        self.handed: dict[str, int] = {}

    @property
    def open_streams(self) -> int:
        return self._behind.open_streams

    @property
    def stream_bytes(self) -> int:
        return self._behind.stream_bytes

    @property
    def refused_tokens(self) -> int:
        return self._servers.refused - self._refused_here

    def renew(self) -> None:
        self._servers.renew(self._behind.open_streams)

    @property
    def streamed_bytes(self) -> int:
        """Of the streams' calls: by which connection they came is not known."""
        return self._behind.streamed_bytes

    def forget(self, peer: str) -> None:
        self.handed.pop(peer, None)

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
        """Waits at most `flush_s` until all answers are written, then closes all connections."""
        streams = self._behind.open_streams
        self._behind.stop(flush_s)
        if streams:
            time.sleep(_PASS_ON_S)
        give_up = time.monotonic() + flush_s
        # close() drops unwritten answers, and nothing tells when all are written: poll, only while stopping.
        while self._servers.unfinished and time.monotonic() < give_up:
            time.sleep(0.002)
        self._wait_until_written(give_up)
        self._servers.close(flush_s)
        self.remove_files()

    def _wait_until_written(self, give_up: float) -> None:
        """Until nothing more gets onto the wire. A call counts as finished while much of a large answer still waits for
        its caller to take the rest: of 500 answers of 60 KB a third of the stops lost some."""
        if not sockets.IS_AVAILABLE:
            return
        seen = sockets.Sockets(self.port)
        numbers, written_bytes = seen.look()[0], -1
        while time.monotonic() < give_up:
            figures = [found.written_bytes for number in numbers if (found := seen.figures(number)) is not None]
            if written_bytes == (written_bytes := sum(figures)):
                return
            time.sleep(_QUIET_S)

    def remove_files(self) -> None:
        """Removes the socket's files, if it has any."""
        self._socket.remove()

    def _taker(self, front: NativeGrpcFront) -> Callable[[], bool]:
        """What an intake thread of a server repeats: takes a burst of calls and hands it over."""
        # Only for cancellations, which name a call by its id.
        open_calls: dict[int, NativeCall] = {}

        def take() -> bool:
            events = front.recv_batch_details(_BURST)
            if events is None:
                return False
            self._hand_over(front, events, open_calls)
            return True

        return take

    def _hand_over(
        self, front: NativeGrpcFront, events: list[DetailedEvent], open_calls: dict[int, NativeCall]
    ) -> None:
        handlers, tokens, handed = self._handlers, self._tokens, self.handed
        principal = ""
        calls: list[tuple[Handler, Call]] = []
        arrived_ns = time.monotonic_ns()
        for kind, call_id, method, payload, token_header, details in events:
            if kind != EVENT_CALL:
                cancelled = open_calls.pop(call_id, None)
                if cancelled is not None:
                    cancelled.cancelled = True
                continue
            if payload is None or details is None:
                log.error("a call came without payload or details; this is a bug of the native front")
                continue
            metadata, peer, remaining_s = details
            # A token is the only header that is long in every call.
            handed[peer] = handed.get(peer, 0) + len(payload) + len(token_header or "") + CALL_BYTES
            deadline_ns = None if remaining_s is None else arrived_ns + int(remaining_s * 1e9)
            if tokens is not None:
                found = tokens.identify(token_header)
                if isinstance(found, Status):
                    self._refused_here += 1
                    front.fail(call_id, found.code, found.message)
                    continue
                principal = found
            call = open_calls[call_id] = NativeCall(
                payload, peer, arrived_ns, deadline_ns, metadata, principal, front, call_id, open_calls
            )
            calls.append((handlers[method], call))
        self._services.serve(calls, inline=True)
