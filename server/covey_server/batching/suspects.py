"""Callers whose requests made a model fail recently. Their requests run in batches of their own, so that no other
caller's batch has to run again because of them."""

from __future__ import annotations

import time
from collections.abc import Callable

QUARANTINE_S = 30.0  # from the last failure on
MAX_SUSPECTS = 1024  # the earliest are forgotten first


class Suspects:
    """Suspected callers, each until its time is up; False if there are none. The batcher, which owns it, holds the
    lock."""

    __slots__ = ("_clock_ns", "_until_ns")

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._until_ns: dict[str, int] = {}  # ordered by time

    def __bool__(self) -> bool:
        return bool(self._until_ns)

    def __len__(self) -> int:
        return len(self._until_ns)

    def __contains__(self, caller: str) -> bool:
        return caller in self._until_ns

    def add(self, caller: str) -> None:
        """Adds a caller, or prolongs its time."""
        self._until_ns.pop(caller, None)
        self._until_ns[caller] = self._clock_ns() + int(QUARANTINE_S * 1e9)
        if len(self._until_ns) > MAX_SUSPECTS:
            del self._until_ns[next(iter(self._until_ns))]

    def forget(self) -> None:
        """Drops those whose time is up."""
        now_ns = self._clock_ns()
        while self._until_ns:
            caller = next(iter(self._until_ns))
            if self._until_ns[caller] > now_ns:
                return
            del self._until_ns[caller]
