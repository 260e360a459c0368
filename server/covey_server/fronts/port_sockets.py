"""Pauses and ends what a server of this process does on its port, so that it can be closed between two calls. Works on
the sockets from outside, since the server's library offers nothing for that. Linux only; elsewhere it does nothing."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from collections.abc import Iterable, Iterator

from covey_server.fronts.sockets import handles

_FAR = 2**31 - 1


def connections(port: int) -> frozenset[int]:
    """The connections to the local `port`, by inode: a later connection may come from the same address."""
    found = set()
    for each in handles(port, listening=False):
        with each:
            found.add(inode(each))
    return frozenset(found)


def inode(connection: socket.socket) -> int:
    """What all handles on a connection have in common, and no other socket has."""
    return os.fstat(connection.fileno()).st_ino


@contextlib.contextmanager
def reading_stopped(port: int, inodes: frozenset[int]) -> Iterator[list[socket.socket]]:
    """Meanwhile nobody who reads these connections to the local `port` is told that data has come. Yields a second
    handle on each connection: none is closed before the end, whatever its owner does."""
    stopped = []
    try:
        for each in handles(port, listening=False):
            with contextlib.suppress(OSError):  # closed meanwhile
                if inode(each) in inodes:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _FAR)
                    stopped.append(each)
                    continue
            each.close()
        yield stopped
    finally:
        for each in stopped:
            with contextlib.suppress(OSError):  # 1, as before: what has come meanwhile is told at once
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            each.close()


def discard_until_closed(connections: Iterable[socket.socket], timeout_s: float) -> None:
    """Reads and forgets what comes by connections whose owner has closed them, until their other ends are closed too.
    A socket closed with unread bytes is reset, and a client whose connection is reset may never read the GOAWAY that
    tells it which calls to send again."""
    give_up = time.monotonic() + timeout_s
    waiting = select.poll()
    by_number = {each.fileno(): each for each in connections}
    for each in by_number.values():
        with contextlib.suppress(OSError):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        waiting.register(each, select.POLLIN)
    while by_number and (left_s := give_up - time.monotonic()) > 0:
        for number, _ in waiting.poll(left_s * 1000):
            if not _discard(by_number[number]):
                waiting.unregister(number)
                del by_number[number]


def listeners(port: int) -> list[socket.socket]:
    """Handles on the sockets that listen on `port` now. The caller has to close them."""
    return list(handles(port, listening=True))


def stop_listening(found: Iterable[socket.socket]) -> None:
    """Stops sockets from taking connections, and closes the handles."""
    for each in found:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RD)
        each.close()


def _discard(connection: socket.socket) -> bool:
    """Reads what has come, at most 64 KiB of it. Returns False at the connection's end."""
    try:
        return bool(connection.recv(65536, socket.MSG_DONTWAIT))
    except BlockingIOError:
        return True
    except OSError:
        return False
