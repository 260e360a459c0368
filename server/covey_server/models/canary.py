"""A version that a share of the callers gets: which of them, and what has been decided about it.

A caller is told by a key, and by a hash that is the same in all processes, on all servers and after restarts: so a key
keeps its version for as long as the canary lasts. Another canary gets other callers.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Outcome = Literal["", "promoted", "rolled_back"]
_ALL = 1 << 64


class Canary:
    """One version on trial, from when its model's `canary-version` names it until that names another one or is gone.
    What is set here holds at once, on all threads: catalogs hold this object, and requests ask it."""

    __slots__ = ("_limit", "_salt", "name", "outcome", "version")

    def __init__(self, name: str, version: int) -> None:
        """It gets no callers until `begin`."""
        self.name = name
        self.version = version
        self.outcome: Outcome = ""
        self._salt = f"{name}/{version}/".encode()
        self._limit = 0

    def begin(self, share: float) -> None:
        """Gives it a share of the callers, 0 to 1."""
        if not self.outcome:
            self._limit = round(share * _ALL)

    def end(self, outcome: Outcome) -> None:
        """Gives it all callers that name no version, or none."""
        self.outcome = outcome
        self._limit = _ALL if outcome == "promoted" else 0

    def takes(self, key: str) -> bool:
        """Whether it answers the caller of this key."""
        if not self._limit:
            return False
        digest = blake2b(self._salt + key.encode(errors="replace"), digest_size=8).digest()
        return int.from_bytes(digest) < self._limit
