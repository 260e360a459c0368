"""Owns the way to a server: where it listens, and connected sockets, with TLS or without."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from covey.security import TLS

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens. Plaintext where `tls` is None."""

    host: str
    port: int
    tls: TLS | None = None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def connect(self, application_protocol: str) -> socket.socket:
        """A blocking connection that gives up after ten seconds; an ssl.SSLSocket with TLS. `application_protocol` is
        ALPN's name, "h2".

        Raises OSError where nobody listens; ssl.SSLError, which is one, where TLS fails.
        """
        connected = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return connected
        try:
            context = self.tls.context()
            context.set_alpn_protocols([application_protocol])
            return context.wrap_socket(connected, server_hostname=self.tls.server_name or self.host)
        except BaseException:
            connected.close()
            raise
