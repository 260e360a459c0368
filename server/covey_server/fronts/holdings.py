"""Bytes that all streams of a front hold together: requests that were read, and answers that are not written yet."""

from __future__ import annotations

import asyncio


class Holdings:
    """Counts bytes, and wakes streams that wait for free ones. For the front's event loop only."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._waiting: set[asyncio.Event] = set()

    @property
    def may_wait(self) -> bool:
        """Whether a request that comes now may wait for room: not if twice the limit is held."""
        return self.bytes < 2 * self.max_bytes

    @property
    def free_bytes(self) -> int:
        """What is left of the limit; negative if it is exceeded."""
        return self.max_bytes - self.bytes

    def add(self, count: int) -> None:
        """Counts bytes in, or out if negative."""
        self.bytes += count
        if self.free_bytes > 0:
            while self._waiting:
                self._waiting.pop().set()

    def wake_when_free(self, event: asyncio.Event) -> None:
        """Sets the event, once, as soon as bytes are free."""
        self._waiting.add(event)
