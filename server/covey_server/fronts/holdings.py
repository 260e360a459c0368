"""What all streams of a front hold together: requests that were read, and answers that were not yet taken."""

from __future__ import annotations

import asyncio


class Holdings:
    """Counts bytes, and tells those who wait when some are free. For the front's event loop alone."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._waiting: set[asyncio.Event] = set()

    @property
    def may_wait(self) -> bool:
        """Whether what comes now may be held until there is room for it: not where it is overdrawn by as much again."""
        return self.bytes < 2 * self.max_bytes

    @property
    def free_bytes(self) -> int:
        """Negative where it is overdrawn."""
        return self.max_bytes - self.bytes

    def add(self, count: int) -> None:
        """Counts bytes in, or out where it is negative."""
        self.bytes += count
        if self.free_bytes > 0:
            while self._waiting:
                self._waiting.pop().set()

    def wake_when_free(self, event: asyncio.Event) -> None:
        """Sets the event, once, when some are free."""
        self._waiting.add(event)
