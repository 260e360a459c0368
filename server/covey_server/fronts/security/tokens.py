"""The bearer tokens that callers need one of: read from a file, and again when it changes.

No token is ever logged, shown, or part of an error. Knows no gRPC: it gets the value of a header.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path

from covey_server.calls import status
from covey_server.calls.status import Status
from covey_server.errors import InvalidConfiguration, Unauthenticated
from covey_server.fronts.security.files import FollowedFiles, read, warn_if_open_to_all

log = logging.getLogger(__name__)

HEADER = "authorization"
_SETTING = "--auth-token-file"
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # a bearer token, by RFC 6750
_BEARER = re.compile(rb"bearer +([!-~]+)", re.IGNORECASE)
_EXPECTED = "expected the metadata, over HTTP the header, `authorization: Bearer TOKEN`"
NOT_VALID = f"this server wants a token and the call brought none that is valid; {_EXPECTED}"
_MISSING = status.of(Unauthenticated(f"this server wants a token and the call brought none; {_EXPECTED}"))
_WRONG = status.of(Unauthenticated(f"what the call brought is no token of this server; {_EXPECTED}, one that is valid"))
_MAX_REMEMBERED = 256
_SHOWN_DIGITS = 12  # of a digest: enough to tell tokens apart


@dataclass(frozen=True)
class _Known:
    """What one reading of the file gave: the tokens' SHA-256, and the principals of headers that were accepted."""

    digests: tuple[bytes, ...]
    principals: dict[object, str] = field(default_factory=dict, repr=False)


class Tokens:
    """The tokens of a file: one per line; blank lines and lines that begin with # are ignored. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidConfiguration if the file cannot be read, holds no token, or holds something else."""
        self._path = path
        self._files = FollowedFiles(path)
        self._known = _Known(_read(path))
        self._refusing = threading.Lock()
        self.refused = 0
        warn_if_open_to_all(_SETTING, path)
        log.info("callers must bring a token, one of the %d in %s", len(self._known.digests), path)

    @property
    def digests(self) -> tuple[bytes, ...]:
        """The SHA-256 of each token that is valid now."""
        return self._known.digests

    def identify(self, header: object) -> str | Status:
        """Whose a call with this `authorization` header is: "token:" and the first digits of the token's SHA-256; or
        the status that a call without a valid token is refused with. What is not bytes is no header.

        Accepted headers are remembered, since hashing and comparing takes 1 to 2 us. That tells a caller nothing by its
        time: a dict compares by a keyed hash of the whole value, and only valid tokens are ever remembered.
        """
        known = self._known
        principal = known.principals.get(header)
        if principal is not None:
            return principal
        token = _BEARER.fullmatch(header) if isinstance(header, bytes) else None
        if token is not None and (digest := _find(known.digests, token[1])) is not None:
            principal = _name(digest)
            if len(known.principals) < _MAX_REMEMBERED:
                known.principals[token[0]] = principal
            return principal
        with self._refusing:
            self.refused += 1
        return _WRONG if isinstance(header, bytes) else _MISSING

    @property
    def names(self) -> frozenset[str]:
        """How logs and limits name these tokens: "token:" and the first digits of each one's SHA-256."""
        return frozenset(map(_name, self.digests))

    def refresh(self) -> bool:
        """Reads the file if it has changed; keeps the old tokens if it holds none. Whether there are others now: a
        file whose permissions alone changed is taken too, and holds the same."""
        digests = self._files.read_new(lambda: _read(self._path), "the tokens read before stay valid")
        if digests is None:
            return False
        warn_if_open_to_all(_SETTING, self._path)
        if set(digests) == set(self.digests):
            return False
        self._known = _Known(digests)
        log.info("the tokens in %s have changed: %d are valid now", self._path, len(self._known.digests))
        return True


def _read(path: Path) -> tuple[bytes, ...]:
    """The digests of a file's tokens. Errors name a line by its number, since its text may be a mistyped token."""
    digests: dict[bytes, None] = {}
    for number, line in enumerate(read(_SETTING, path).splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if not _TOKEN.fullmatch(token):
            raise InvalidConfiguration(
                f"{_SETTING} {path}: line {number} is no token: expected one a line, of A-Z a-z 0-9 . _ ~ + / - and = "
                f"at its end"
            )
        digests[hashlib.sha256(token).digest()] = None
    if not digests:
        raise InvalidConfiguration(f"{_SETTING} {path}: it holds no token; expected one a line")
    return tuple(digests)


def _name(digest: bytes) -> str:
    return f"token:{digest.hex()[:_SHOWN_DIGITS]}"


def _find(digests: tuple[bytes, ...], token: bytes) -> bytes | None:
    """A token's digest if it is one of these. Compares with all of them, in a time that does not depend on the
    token."""
    given = hashlib.sha256(token).digest()
    return given if sum(hmac.compare_digest(given, digest) for digest in digests) else None
