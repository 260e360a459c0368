"""The memory that all decoders of a server may take together, and the images that wait for it.

Admission limits how many images are inside; this limits the memory for decoding them: 38 bytes can become 750 MB.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from covey_server.errors import ImageTooLarge
from covey_server.system.memory_limit import Room, room

MIN_BYTES = 16 * 2**20  # with less, hardly anything can be decoded
_SMALL_BYTES = 8 * 2**20  # enough for 1,000 x 1,000 except WebP, and for baseline JPEGs of any size into small models
_SHARE = 0.5  # of the memory that is free once the models are loaded: calls, batches and later models need the rest
_POLL_S = 0.05  # a cancellation wakes nobody, so it is looked for


class DecodeBudget:
    """Shares `limit_bytes`. Small images, of up to `small_bytes`, need no reservation: room for one on each thread is
    set aside. Safe from any thread."""

    def __init__(self, limit_bytes: int, threads: int) -> None:
        self.limit_bytes = limit_bytes
        self.small_bytes = min(_SMALL_BYTES, limit_bytes // (4 * threads))
        self._free_bytes = self._shared_bytes = limit_bytes - threads * self.small_bytes
        self._waiting: deque[object] = deque()  # in order of arrival, so that large images get their turn
        self._changed = threading.Condition()

    @property
    def reserved_bytes(self) -> int:
        """Bytes that are reserved now; small images do not count."""
        return self._shared_bytes - self._free_bytes

    @property
    def waiting(self) -> int:
        """The number of images that wait for memory."""
        return len(self._waiting)

    def require_fits(self, needed_bytes: int, subject: str) -> None:
        """Raises ImageTooLarge for an image that would not fit even if nothing else were decoded."""
        if needed_bytes > self._shared_bytes and needed_bytes > self.small_bytes:
            raise ImageTooLarge(
                f"{subject} takes about {needed_bytes / 2**20:,.0f} MiB of memory to decode, "
                f"{self._shared_bytes / 2**20:,.0f} MiB are there for large images (--max-decode-bytes is "
                f"{self.limit_bytes / 2**20:,.0f} MiB); scale it down before sending, or send it as a baseline JPEG, "
                f"which takes least",
                "memory",
            )

    @contextmanager
    def reserve(self, needed_bytes: int, check: Callable[[], None]) -> Iterator[None]:
        """Waits until so many bytes are free, and holds them. `require_fits` must have let them pass. `check` is called
        while it waits; if it raises, the waiting ends."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or needed_bytes > self._free_bytes:
                    self._changed.wait(_POLL_S)
                    check()
                self._free_bytes -= needed_bytes
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += needed_bytes
                self._changed.notify_all()


def limit(requested_bytes: int, processes: int = 1) -> Room:
    """The bytes for decoding and where that number comes from: `requested_bytes` or, if that is 0, a share of what is
    free now, divided by the `processes` of the server."""
    if requested_bytes:
        return Room(requested_bytes, "--max-decode-bytes")
    available = room()
    if available is None:
        return Room((1 << 30) // processes, "a guess: this system does not say how much memory is free")
    source = f"half of what {available.source} leaves" + (
        f", divided by {processes} processes" if processes > 1 else ""
    )
    return Room(max(MIN_BYTES, int(available.free_bytes * _SHARE / processes)), source)
