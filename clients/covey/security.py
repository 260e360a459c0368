"""How a client proves who it is, and who its server is: TLS and bearer tokens. Opens no connection."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from covey.connection import CHANNEL_OPTIONS, is_local, is_url
from covey.errors import InvalidInput, MissingFile, UnreadableFile

StrPath: TypeAlias = "str | os.PathLike[str]"
Token: TypeAlias = "str | Callable[[], str]"
Metadata: TypeAlias = "tuple[tuple[str, str], ...]"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # what RFC 6750 lets a bearer token be
_MAX_METADATA_BYTES = 64 << 10  # that a server takes with one call
_MAX_TOKEN_BYTES = _MAX_METADATA_BYTES - 4_096  # the rest is for what gRPC and tracing add
_TOKEN_LETTERS = "A-Z a-z 0-9 . _ ~ + / - and = at its end"


@dataclass(frozen=True)
class TLS:
    """Encrypted connections, to a server whose certificate is checked. All are PEM files.

    `ca_certificate` holds the authorities that may have signed the server's certificate; by default those that gRPC
    brings along, as browsers have them.
    `client_certificate` and `client_key` are for servers that ask their callers for one; they go together.
    `server_name` is the name that the certificate is for, where the target is another.
    """

    ca_certificate: StrPath | None = None
    client_certificate: StrPath | None = None
    client_key: StrPath | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them. Raises InvalidInput where a file cannot be read, or is no PEM file. What is within is for
        gRPC to judge, when it connects: then HandshakeFailed says so."""
        if (self.client_certificate is None) != (self.client_key is None):
            raise InvalidInput("client_certificate and client_key go together: give both, or none")
        authorities, key, certificate = (
            _read_pem(path) for path in (self.ca_certificate, self.client_key, self.client_certificate)
        )
        return grpc.ssl_channel_credentials(authorities, key, certificate)

    def context(self) -> ssl.SSLContext:
        """As Python's own sockets take it; without a `ca_certificate` the system's authorities count. Raises OSError
        where a file cannot be used."""
        context = ssl.create_default_context(cafile=self.ca_certificate)
        if self.client_certificate is not None:
            # A password, else OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.client_certificate, self.client_key, password="")
        return context


class TokenFile:
    """A token in a file, which is read again when it changes: `covey.Client(..., token=covey.TokenFile(path))`.

    Each call gives the token. Raises MissingFile, UnreadableFile, or InvalidInput where the file holds anything else.
    """

    def __init__(self, path: StrPath) -> None:
        self._path = Path(path)
        self._look: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        try:
            state = self._path.stat()
            look = (state.st_mtime_ns, state.st_size, state.st_ino)
            if look != self._look:
                self._token, self._look = self._read(), look
        except OSError as error:
            raise _unreadable(self._path, error) from error
        return self._token

    def _read(self) -> str:
        token = self._path.read_bytes().decode("ascii", "replace").strip()
        if not _TOKEN.fullmatch(token):
            raise InvalidInput(
                f"{self._path}: expected one token, of {_TOKEN_LETTERS}, and nothing else; of the several that a "
                f"server's file may hold, a client's holds one"
            )
        return token

    def __repr__(self) -> str:
        return f"TokenFile({str(self._path)!r})"


def tls_of_scheme(targets: Sequence[str], tls: TLS | bool | None) -> TLS | bool | None:
    """`tls`, and what the scheme of normalised targets says of it. Raises InvalidInput where they contradict."""
    for target in targets:
        if target.startswith("https:"):
            if tls is False:
                raise InvalidInput(f"the target {target!r} has TLS, and tls=False (--no-tls) says that it has none")
            return tls or True
        if target.startswith("http:") and tls:
            raise InvalidInput(f"the target {target!r} has no TLS; write https://, or omit tls (--tls)")
    return tls


class Access:
    """The security of one client: `tls` True is TLS(), None and False none; `token` "" is none.

    Shows no token. Raises InvalidInput where a file cannot be used, or the token is none.
    """

    def __init__(self, tls: TLS | bool | None, token: Token) -> None:
        if not isinstance(tls, TLS | bool | None):
            raise InvalidInput(f"tls must be True, False or a covey.TLS(...), not a {type(tls).__name__}")
        self.tls = TLS() if tls is True else tls or None
        self._plaintext_is_meant = tls is False
        self.credentials = self.tls.credentials() if self.tls is not None else None
        self._token = token if callable(token) else None
        self._metadata = None if callable(token) or token == "" else _metadata(token)

    @property
    def metadata(self) -> Metadata | None:
        """What goes with each call."""
        return self._metadata if self._token is None else _metadata(self._token())

    def metadata_bytes(self) -> int:
        """How long `metadata` is."""
        return sum(len(name) + len(value) for name, value in self.metadata or ())

    def options(self, target: str) -> tuple[tuple[str, str | int], ...]:
        """The options of a channel to a normalised target."""
        options: tuple[tuple[str, str | int], ...] = CHANNEL_OPTIONS
        if is_local(target):
            options += (("grpc.enable_http_proxy", 0),)  # a proxy would carry it off this machine, and a token with it
        if self.tls is not None and self.tls.server_name:
            options += (("grpc.ssl_target_name_override", self.tls.server_name),)
        elif target.startswith(("ipv4:", "ipv6:")) and "," in target:
            # Otherwise `:authority` holds all addresses, which the native front refuses.
            first, _, _ = target.partition(":")[2].partition(",")
            options += (("grpc.default_authority", first),)
        return options

    def require_safe(self, targets: Sequence[str]) -> None:
        """Raises InvalidInput where the token would travel for all to read, unless the caller said so."""
        if self.credentials is not None or self._plaintext_is_meant or (self._token or self._metadata) is None:
            return
        for target in targets:
            if not is_local(target):
                encrypt = "write https://" if is_url(target) else "give tls=True"
                raise InvalidInput(
                    f"the token would travel to {target} for everybody on the way to read; {encrypt}, or tls=False "
                    f"where the way is safe, as in a service mesh"
                )


def _metadata(token: object) -> Metadata:
    if not isinstance(token, str):
        raise InvalidInput(f"the token must be a str, or a function that gives one, not a {type(token).__name__}")
    if not _TOKEN.fullmatch(token):
        raise InvalidInput(f"the token is none: expected {_TOKEN_LETTERS}, without blanks or line ends")
    if len(token) > _MAX_TOKEN_BYTES:
        raise InvalidInput(
            f"the token has {len(token):,} bytes; expected at most {_MAX_TOKEN_BYTES:,}, since a server takes "
            f"{_MAX_METADATA_BYTES:,} bytes of metadata with one call: ask for one with fewer claims"
        )
    return (("authorization", f"Bearer {token}"),)


def _unreadable(path: StrPath, error: OSError) -> UnreadableFile:
    kind = MissingFile if isinstance(error, FileNotFoundError) else UnreadableFile
    return kind(f"{path}: cannot be read ({error.strerror})")


def _read_pem(path: StrPath | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if b"-----BEGIN " not in content:
        raise InvalidInput(f"{path}: expected a PEM file, which holds a line -----BEGIN ...; this one does not")
    return content
