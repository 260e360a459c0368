"""Pauses and ends what a server of this process does on its port, so that it can be closed between two calls. Works on
the sockets from outside, since the server's library offers nothing for that. Linux only; elsewhere it does nothing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Iterator

from covey_server.fronts.sockets import handles

_FAR = 2**31 - 1


def peers(port: int) -> frozenset[object]:
    """The remote addresses of the connections to the local `port`."""
    found = set()
    for each in handles(port, listening=False):
        with each, contextlib.suppress(OSError):
            found.add(each.getpeername())
    return frozenset(found)


@contextlib.contextmanager
def reading_stopped(port: int, peers: frozenset[object]) -> Iterator[None]:
    """Meanwhile nobody who reads these connections to the local `port` is told that data has come."""
    connections = list(handles(port, listening=False))
    try:
        for each in connections:
            with contextlib.suppress(OSError):  # closed meanwhile
                if each.getpeername() in peers:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _FAR)
        yield
    finally:
        for each in connections:
            with contextlib.suppress(OSError):  # 1, as before: what has come meanwhile is told at once
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            each.close()


def listeners(port: int) -> list[socket.socket]:
    """Handles on the sockets that listen on `port` now. The caller has to close them."""
    return list(handles(port, listening=True))


def stop_listening(found: Iterable[socket.socket]) -> None:
    """Stops sockets from taking connections, and closes the handles."""
    for each in found:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RD)
        each.close()
