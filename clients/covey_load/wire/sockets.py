"""Owns the way to a server: where it is, TLS, and sockets that behave alike with and without it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Protocol

from covey.security import TLS

CONNECT_TIMEOUT_S = 10.0


class Transport(Protocol):
    """What a connection needs of a socket. Not ready is BlockingIOError, and a lost peer ConnectionError or b""."""

    def send(self, data: memoryview, /) -> int: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, size: int, /) -> bytes: ...
    def setblocking(self, blocking: bool, /) -> None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class TlsSocket:
    """A Transport over TLS. A read takes all that is decrypted, so that readiness of the socket tells of the rest."""

    def __init__(self, connected: ssl.SSLSocket) -> None:
        self._socket = connected

    def send(self, data: memoryview, /) -> int:
        try:
            return self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error

    def sendall(self, data: bytes, /) -> None:
        self._socket.sendall(data)

    def recv(self, size: int, /) -> bytes:
        try:
            data = self._socket.recv(size)
            while pending := self._socket.pending():
                data += self._socket.recv(pending)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
            raise BlockingIOError from error
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error
        return data

    def setblocking(self, blocking: bool, /) -> None:
        self._socket.setblocking(blocking)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()


def tls_context(tls: TLS) -> ssl.SSLContext:
    """As Python's own sockets take it; without a `ca_certificate` the system's authorities count.

    Raises OSError where a file cannot be used.
    """
    context = ssl.create_default_context(cafile=tls.ca_certificate)
    if tls.client_certificate is not None:
        context.load_cert_chain(tls.client_certificate, tls.client_key)
    return context


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

    def connect(self, application_protocol: str) -> Transport:
        """A blocking connection that gives up after ten seconds. `application_protocol` is ALPN's name, "h2".

        Raises OSError where nobody listens; ssl.SSLError, which is one, where TLS fails.
        """
        connected = self.open_socket(application_protocol)
        return TlsSocket(connected) if isinstance(connected, ssl.SSLSocket) else connected

    def open_socket(self, application_protocol: str) -> socket.socket:
        """As `connect`, the bare socket; an ssl.SSLSocket with TLS."""
        connected = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return connected
        try:
            context = tls_context(self.tls)
            context.set_alpn_protocols([application_protocol])
            return context.wrap_socket(connected, server_hostname=self.tls.server_name or self.host)
        except BaseException:
            connected.close()
            raise
