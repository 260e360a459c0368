"""Work that waits for a thread, given out to its callers in turn: whoever brings much waits for it, not the others.
What one caller brings is done in its order."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """A queue for each caller that has work. Safe from any thread."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[T]] = {}  # the next caller first
        self._lock = threading.Lock()

    def put(self, caller: str, work: T) -> None:
        """Adds work behind the rest of its caller's."""
        with self._lock:
            self._queue_of(caller).append(work)

    def take(self) -> tuple[str, T]:
        """The next caller and its oldest work. Raises StopIteration if nothing waits."""
        with self._lock:
            return self._take()

    def swap(self, caller: str, work: T) -> tuple[str, T]:
        """Puts back work that was begun, before the rest of its caller's, and takes: what was put back itself if nobody
        else has any."""
        with self._lock:
            self._queue_of(caller).appendleft(work)
            return self._take()

    def _queue_of(self, caller: str) -> deque[T]:
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
        return queue

    def _take(self) -> tuple[str, T]:
        caller = next(iter(self._queues))
        queue = self._queues.pop(caller)
        work = queue.popleft()
        if queue:
            self._queues[caller] = queue  # behind all others
        return caller, work
