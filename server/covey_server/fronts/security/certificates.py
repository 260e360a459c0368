"""The server's certificate, its key, and the authorities that sign its callers' certificates. Checked before they are
used, and followed when they are renewed. Knows no gRPC."""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from covey_server.errors import InvalidConfiguration
from covey_server.fronts.security.files import FollowedFiles, read, warn_if_open_to_all

log = logging.getLogger(__name__)

_CERTIFICATE, _KEY, _CLIENT_CA = "--tls-certificate", "--tls-key", "--tls-client-ca"
_WITHOUT_TIME = 0x200000  # OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which Python has no name


@dataclass(frozen=True)
class Identity:
    """The files' contents in PEM: the certificate with its chain, its key, and the authorities that have to sign
    callers' certificates (None: callers need none). `expires_s` counts from 1970. `server_context` is the same for
    HTTP."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    expires_s: float
    server_context: ssl.SSLContext = field(compare=False)


class Certificates:
    """The files of one server."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        """Raises InvalidConfiguration if they cannot be used: one is missing or no PEM, the key belongs to another
        certificate, or the certificate is not valid now, so that callers would refuse it."""
        self._paths = (certificate, key, client_ca)
        self._files = FollowedFiles(*(path for path in self._paths if path is not None))
        self.identity = _read(certificate, key, client_ca)
        warn_if_open_to_all(_KEY, key)
        log.info("TLS with the certificate %s, valid until %s", certificate, _date(self.identity.expires_s))

    def refresh(self) -> None:
        """Reads renewed files; keeps the old ones if they cannot be used."""
        identity = self._files.read_new(
            lambda: _read(*self._paths), "new connections get the certificate that was read before"
        )
        if identity is None:
            return
        warn_if_open_to_all(_KEY, self._paths[1])
        if identity != self.identity:  # else a permission changed
            self.identity = identity
            log.info("the certificate is renewed, valid until %s", _date(self.identity.expires_s))


def _read(certificate: Path, key: Path, client_ca: Path | None) -> Identity:
    pem = _read_pem(_CERTIFICATE, certificate, "CERTIFICATE")
    key_pem = _read_pem(_KEY, key, "PRIVATE KEY")
    client_ca_pem = _read_pem(_CLIENT_CA, client_ca, "CERTIFICATE") if client_ca is not None else None
    if client_ca_pem is not None:
        _trusting(client_ca_pem, _CLIENT_CA, client_ca)
    context = _serving(certificate, key)
    begins_s, expires_s = _validity(context, _trusting(pem, _CERTIFICATE, certificate), certificate)
    if not begins_s <= time.time() < expires_s:
        raise InvalidConfiguration(
            f"{_CERTIFICATE} {certificate}: it is valid from {_date(begins_s)} to {_date(expires_s)}, not now "
            f"({_date(time.time())}); renew it, or set the clock"
        )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if client_ca_pem is not None:
        context.load_verify_locations(cadata=client_ca_pem.decode("ascii", "replace"))
        context.verify_mode = ssl.CERT_REQUIRED
    return Identity(pem, key_pem, client_ca_pem, expires_s, context)


def _read_pem(setting: str, path: Path, kind: str) -> bytes:
    content = read(setting, path)
    if f"{kind}-----".encode() not in content:
        raise InvalidConfiguration(f"{setting} {path}: it holds no {kind} in PEM form")
    return content


def _serving(certificate: Path, key: Path) -> ssl.SSLContext:
    """The server's side of a handshake. Raises InvalidConfiguration if certificate and key cannot be used."""

    def refuse() -> bytes:
        raise InvalidConfiguration(f"{_KEY} {key}: it is encrypted; expected one without a password")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key, refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidConfiguration(f"{_KEY} {key}: it is not the key of the certificate {certificate}") from error
        raise InvalidConfiguration(
            f"{_CERTIFICATE} {certificate} and {_KEY} {key}: they cannot be used ({error.reason or error})"
        ) from error
    return context


def _trusting(pem: bytes, setting: str, path: Path | None) -> ssl.SSLContext:
    """The client's side of a handshake, which trusts these certificates at any time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | _WITHOUT_TIME
    try:
        context.load_verify_locations(cadata=pem.decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise InvalidConfiguration(
            f"{setting} {path}: its certificates cannot be read ({error.reason or error})"
        ) from error
    return context


def _validity(serving: ssl.SSLContext, trusting: ssl.SSLContext, certificate: Path) -> tuple[float, float]:
    """From when to when the certificate is valid. Python tells that only of a peer's certificate, so the two sides do a
    handshake in memory, which tests the key as well."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    try:
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    except ssl.SSLError as error:
        raise InvalidConfiguration(
            f"{_CERTIFICATE} {certificate}: callers could not use it ({error.reason or error})"
        ) from error
    found = client.getpeercert() or {}
    begins_s, expires_s = (ssl.cert_time_to_seconds(str(found[name])) for name in ("notBefore", "notAfter"))
    return begins_s, expires_s


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
