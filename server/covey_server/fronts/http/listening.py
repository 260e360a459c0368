"""The socket on which the HTTP front listens."""

from __future__ import annotations

import socket

from covey_server.errors import PortUnavailable

_BACKLOG = 1024


def listen(host: str, port: int, *, shares_port: bool) -> socket.socket:
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
