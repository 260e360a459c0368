"""Whether a port is free, and how several processes of one server share it (SO_REUSEPORT)."""

from __future__ import annotations

import contextlib
import socket


def require_free(address: str) -> None:
    """Raises OSError if another server listens at "host:port": with SO_REUSEPORT both would silently share the port."""
    host, _, port = address.rpartition(":")
    if port == "0":
        return
    for family, kind, _, _, place in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        with contextlib.closing(socket.socket(family, kind)) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            tried.bind(place)


class ReservedPort:
    """A port that processes of this user may listen on with SO_REUSEPORT, and nobody else. It takes no connections
    itself, since it never listens. Linux."""

    def __init__(self, host: str, port: int) -> None:
        """Port 0 takes a free one. Raises OSError where another server has the port."""
        require_free(f"{host}:{port}")
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        try:
            self._socket = _bound(family, kind, address, is_reused=False)
        except OSError:
            # Nobody listens there, but connections of a server that has just stopped are left (TIME_WAIT).
            self._socket = _bound(family, kind, address, is_reused=True)
        self.port = int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Gives the port up."""
        self._socket.close()


def _bound(family: int, kind: int, address: object, *, is_reused: bool) -> socket.socket:
    """A socket at the address. `is_reused`: beside closed connections of others; then `require_free` of another server
    finds it only while a process of this one listens."""
    found = socket.socket(family, kind)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(is_reused))
        found.bind(address)  # type: ignore[arg-type]
    except OSError:
        found.close()
        raise
    return found
