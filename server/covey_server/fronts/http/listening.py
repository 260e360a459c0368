"""The socket on which the HTTP front listens, and the connections that wait there."""

from __future__ import annotations

import logging
import math
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from covey_server.errors import PortUnavailable

log = logging.getLogger(__name__)

_BACKLOG = 1024
_ACCEPTED_AT_ONCE = 64
_ACCEPTED_AT_END = 2 * _BACKLOG
_PAUSE_S = 0.5  # where no file is left


class Listener:
    """Accepts connections while it is registered with a selector. For the intake thread alone."""

    def __init__(
        self, host: str, port: int, selector: selectors.BaseSelector,
        add: Callable[[socket.socket, Sequence[object]], None], make_places: Callable[[], None], *, shares_port: bool,
    ) -> None:  # fmt: skip
        """`add` gets each connection and its caller's address; `make_places` closes some where no file is left. With
        `shares_port` others may listen there too. Raises PortUnavailable if the address cannot be bound."""
        self._socket = _listen(host, port, shares_port=shares_port)
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self.is_closed = False
        self._selector = selector
        self._add = add
        self._make_places = make_places
        self._resumes_s = math.inf
        self._register()

    @property
    def is_paused(self) -> bool:
        """Whether `resume` has to be called."""
        return math.isfinite(self._resumes_s)

    def resume(self, now_s: float) -> None:
        """Ends a pause that has lasted long enough."""
        if now_s >= self._resumes_s:
            self._resumes_s = math.inf
            self._register()

    def close(self) -> None:
        """Closes the socket; the system refuses callers from now on."""
        if not self.is_closed:
            self.is_closed = True
            if not self.is_paused:
                self._selector.unregister(self._socket)
            self._resumes_s = math.inf
            self._socket.close()

    def accept_all_and_close(self) -> None:
        """Accepts what waits, which the system would reset: those callers could not tell whether they were heard."""
        for _ in range(_ACCEPTED_AT_END // _ACCEPTED_AT_ONCE):
            if self.is_paused or not self._accept():
                break
        self.close()

    def _register(self) -> None:
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def _accept(self) -> bool:
        """Accepts connections; False once none waits, or none can be accepted."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connected, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return False
            except OSError as error:
                log.warning("no HTTP connection can be accepted: %s", error.strerror)
                self._make_places()
                self._selector.unregister(self._socket)
                self._resumes_s = time.monotonic() + _PAUSE_S
                return False
            self._add(connected, address)
        return True


def _listen(host: str, port: int, *, shares_port: bool) -> socket.socket:
    """A socket that listens; with `shares_port` others may listen there too. Raises PortUnavailable."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = address[0] == "::" and socket.has_dualstack_ipv6()  # IPv4 too, as gRPC's port
        return socket.create_server(
            (str(address[0]), int(address[1])), family=family, backlog=_BACKLOG, dualstack_ipv6=both,
            reuse_port=shares_port,
        )  # fmt: skip
    except OSError as error:
        raise PortUnavailable(
            f"HTTP cannot listen on {host}:{port}: {error.strerror or error}; choose others with --host and "
            f"--http-port, or use --no-http"
        ) from error
