"""Certificates for tests, made in milliseconds: an authority of the test's own, and what it signs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import trustme

EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)


class Pair(NamedTuple):
    """The PEM files of a certificate, with its chain, and of its key, which only the owner may read."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates. `certificate` is its own, the one to trust."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA()
        self._folder = folder
        self.certificate = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificate))

    def sign(self, *names: str, expires: datetime | None = None, file: str = "server") -> Pair:
        """A certificate for host names or addresses, in `file`.pem and `file`.key; those are replaced if they exist."""
        begins = datetime(2019, 1, 1, tzinfo=UTC)
        leaf = self._authority.issue_cert(*names, not_before=begins, not_after=expires)
        pair = Pair(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        pair.certificate.write_bytes(b"".join(each.bytes() for each in leaf.cert_chain_pems))
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(leaf.private_key_pem.bytes())
        return pair
