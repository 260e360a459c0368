"""Work that may come later: a thread of the lowest priority, and a bounded queue before it. What does not fit is
refused at once, so that whoever offers work is never held up."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from covey_server.system.threads import lower_priority

T = TypeVar("T")


class Later(Generic[T]):
    """Calls `do` with each item, in order. `do` must not raise. `start`, then `close` and `join`."""

    def __init__(self, name: str, do: Callable[[T], None], max_items: int, max_bytes: int) -> None:
        self._do = do
        self._max_items, self._max_bytes = max_items, max_bytes
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0  # of what waits
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits; the last item may still be at work."""
        return not self._waiting

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def has_room(self, size_bytes: int) -> bool:
        """Whether `put` would most likely take so many bytes."""
        return len(self._waiting) < self._max_items and self._bytes + size_bytes <= self._max_bytes

    def put(self, item: T, size_bytes: int) -> bool:
        """Queues an item, from any thread. False if it does not fit, or after `close`."""
        with self._changed:
            if self._is_closed or not self.has_room(size_bytes):
                return False
            self._waiting.append((item, size_bytes))
            self._bytes += size_bytes
            self._changed.notify()
            return True

    @property
    def is_closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._is_closed

    def close(self) -> list[T]:
        """Takes no more, and returns what waits and is not begun. What has begun is ended; `join` waits for it."""
        with self._changed:
            self._is_closed = True
            left = [item for item, _ in self._waiting]
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify()
            return left

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread, after `close`. False if it still works after that time."""
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                if self._is_closed:
                    return
                item, size_bytes = self._waiting.popleft()
                self._bytes -= size_bytes
            self._do(item)
            del item  # it may hold a model that was unloaded
