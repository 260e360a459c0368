"""TLS of one connection, on bytes in memory: the front moves them to and from the socket."""

from __future__ import annotations

import re
import ssl
from typing import Any


class TlsLayer:
    """The server's side of one connection. For one thread at a time."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "is_established")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.is_established = False

    @property
    def subject(self) -> str:
        """The subject of the caller's certificate as gRPC tells it (RFC 4514: the last part first), such as
        "CN=name,O=organisation"; "" where it has none."""
        certificate: Any = self._tls.getpeercert() or {}  # typed as if each value were of any kind
        parts = ("+".join(map(_written, names)) for names in reversed(certificate.get("subject", ())))
        return ",".join(parts)

    def receive(self, data: bytes) -> bytes:
        """What the caller says in these bytes from the network; answers of the handshake become `outgoing`. Raises
        ssl.SSLError."""
        self._incoming.write(data)
        if not self.is_established:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.is_established = True
        pieces = []
        while True:
            try:
                piece = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # the caller sends nothing more
                break
            if not piece:
                break
            pieces.append(piece)
        return b"".join(pieces)

    def send(self, data: bytes | memoryview) -> None:
        """Encrypts data into `outgoing`. Raises ssl.SSLError."""
        self._tls.write(data)

    def close(self) -> None:
        """Says goodbye into `outgoing`."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it wants the caller's goodbye too, for which nobody waits
            return

    @property
    def outgoing_bytes(self) -> int:
        """How much has to be sent."""
        return self._outgoing.pending

    def outgoing(self) -> bytes:
        """What has to be sent."""
        return self._outgoing.read()


_READ_BYTES = 64 << 10
_SPECIAL = re.compile(r'(^[ #]|[,+"\\<>;]| $)')
_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "localityName": "L",
    "stateOrProvinceName": "ST",
}


def _written(part: tuple[str, str]) -> str:
    name, value = part
    escaped = _SPECIAL.sub(r"\\\1", value)
    return f"{_SHORT.get(name, name)}={escaped}"
