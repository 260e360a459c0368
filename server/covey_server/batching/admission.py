"""The one place where load is refused: bounds the calls and bytes that are inside the server at once.

A call is inside from before its first byte is decoded until its answer is given. That makes this also the
place that knows when a server has drained.
"""

from __future__ import annotations

import threading

from covey_server.errors import Overloaded, RequestTooLarge, Stopping


class Admission:
    """Counts what is inside. Safe from any thread."""

    def __init__(self, max_calls: int, max_bytes: int, max_message_bytes: int) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self.max_message_bytes = max_message_bytes
        self.calls = 0
        self.bytes = 0
        self._lock = threading.Lock()
        self._closed = False
        self._empty = threading.Event()

    def enter(self, size_bytes: int) -> None:
        """Lets a call in. Raises RequestTooLarge, Overloaded or Stopping; then nothing was counted."""
        self.require_size(size_bytes)
        with self._lock:
            if self._closed:
                raise Stopping("the server is shutting down; ask another one, or this one once it is back")
            if self.calls >= self.max_calls:
                raise Overloaded(f"{self.calls:,} calls are waiting already, as many as are let in; try again later")
            self._refuse_bytes(size_bytes, others=self.calls)
            self.calls += 1
            self.bytes += size_bytes

    def require_size(self, size_bytes: int) -> None:
        """Raises RequestTooLarge for a message above the limit."""
        if size_bytes > self.max_message_bytes:
            raise RequestTooLarge(
                f"the request has {size_bytes:,} bytes, at most {self.max_message_bytes:,} are taken here; send fewer "
                f"images per call, or start the server with a larger --max-message-bytes"
            )

    def grow(self, size_bytes: int) -> None:
        """Counts what a call inside will take in addition, once its images are decoded. Raises as `enter`."""
        if size_bytes > self.max_message_bytes:
            raise RequestTooLarge(
                f"the images of the request decode to {size_bytes:,} bytes, at most {self.max_message_bytes:,} are "
                f"taken here; send fewer images per call, or start the server with a larger --max-message-bytes"
            )
        with self._lock:
            self._refuse_bytes(size_bytes, others=self.calls - 1)
            self.bytes += size_bytes

    def _refuse_bytes(self, size_bytes: int, others: int) -> None:
        # A lone call may pass the limit: else one between the two limits could never be let in.
        if self.bytes + size_bytes > self.max_bytes and others:
            raise Overloaded(
                f"{self.bytes:,} bytes are waiting already and {size_bytes:,} more would pass the limit of "
                f"{self.max_bytes:,}; try again later"
            )

    def leave(self, size_bytes: int) -> None:
        """Counts a call out, once it was answered."""
        with self._lock:
            self.calls -= 1
            self.bytes -= size_bytes
            if self._closed and self.calls == 0:
                self._empty.set()

    def close(self) -> None:
        """Lets nothing more in."""
        with self._lock:
            self._closed = True
            if self.calls == 0:
                self._empty.set()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """After `close`: waits until every call inside was answered; False where time ran out."""
        return self._empty.wait(timeout_s)
