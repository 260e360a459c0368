"""A port's sockets in this process, whoever has opened them: so that a server can be closed between calls. Linux only;
elsewhere nothing is found."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator

from covey_server.fronts.sockets import handles

_FAR = 2**31 - 1


def peers(port: int) -> frozenset[object]:
    """The other ends of the connections to the local `port`."""
    found = set()
    for each in handles(port, listening=False):
        with each, contextlib.suppress(OSError):
            found.add(each.getpeername())
    return frozenset(found)


@contextlib.contextmanager
def reading_stopped(port: int, peers: frozenset[object]) -> Iterator[None]:
    """While it lasts no reader of these connections to the local `port` is told that something has come."""
    connections = list(handles(port, listening=False))
    try:
        for each in connections:
            with contextlib.suppress(OSError):  # closed meanwhile
                if each.getpeername() in peers:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _FAR)
        yield
    finally:
        for each in connections:
            with contextlib.suppress(OSError):  # 1, as it was: tells at once what has come meanwhile
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            each.close()


def listeners(port: int) -> list[socket.socket]:
    """Handles on the sockets that take connections to `port` now, to be closed by the caller."""
    return list(handles(port, listening=True))


def stop_listening(found: Iterable[socket.socket]) -> None:
    """Lets sockets take no more connections, and closes the handles."""
    for each in found:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RD)
        each.close()
