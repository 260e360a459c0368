"""A caller of the edge who minds no rules: HTTP/2 frames over TLS, written one by one."""

from __future__ import annotations

import ssl

from bench.raw_http2 import Place, RawConnection
from tests.certificates import Pair


def raw_connection(address: str, pair: Pair | None = None) -> RawConnection:
    """Over TLS, without a look at the server's certificate; `pair` is the caller's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(*pair)
    return RawConnection(Place.of(address, context))
