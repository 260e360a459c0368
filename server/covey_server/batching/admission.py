"""The one place where load is refused: bounds the calls, the bytes and the images to decode that are inside the
server at once, and what one caller may hold of them.

A call is inside from before its first byte is decoded until its answer is given. That makes this also the
place that knows when a server has drained. Its answer counts, as bytes of the caller, until the front says that it is
written: a caller that does not read its answers is refused soon.

One caller may hold no more than what is left free: alone it gets half of a limit, two that flood get a third
each, and there is always room for one more (dynamic thresholds: Choudhury, Hahne 1998).
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from covey_server.errors import Overloaded, RequestTooLarge, Stopping


class _Held:
    """What one caller has inside."""

    __slots__ = ("answer_bytes", "bytes", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self.bytes = 0  # of calls and answers
        self.answer_bytes = 0  # of answers that are not yet written


class Admission:
    """Counts what is inside. Safe from any thread. A caller is one connection."""

    def __init__(
        self,
        max_calls: int,
        max_bytes: int,
        max_message_bytes: int,
        max_decodes: int = 1024,
        max_answer_bytes: int = 64 << 20,
    ) -> None:
        self.max_calls = max_calls
        self.max_bytes = max_bytes
        self.max_message_bytes = max_message_bytes
        self.max_decodes = max_decodes
        self.max_answer_bytes = max_answer_bytes
        self.calls = 0
        self.bytes = 0  # of calls and answers
        self.answer_bytes = 0  # of answers that are not yet written
        self.decodes = 0
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        # Looks which answers are written, where nobody says so: called before much that is held could be none.
        self.settle: Callable[[], None] = lambda: None
        self._closed = False
        self._empty = threading.Event()

    def enter(self, size_bytes: int, caller: str) -> None:
        """Lets a call in. Raises RequestTooLarge, Overloaded or Stopping: then it is not in."""
        if size_bytes > self.max_message_bytes:
            self.require_size(size_bytes)
        if self.answer_bytes > self.max_bytes >> 3:
            self.settle()
        with self._lock:
            if self._closed:
                raise Stopping(
                    "the server is shutting down; ask another one, or this one once it is back", refused_for="stopping"
                )
            held = self._held.get(caller)
            if held is None:
                held = _Held()
            free = self.max_calls - self.calls
            if not free:
                raise Overloaded(
                    f"{self.calls:,} calls are waiting already, as many as are let in; try again later",
                    refused_for="calls",
                )
            if held.calls > free:
                raise Overloaded(
                    f"{held.calls:,} calls of this connection are waiting already; the {free:,} places that are free "
                    f"are kept for others. Wait for answers before sending more",
                    refused_for="share",
                )
            if not self._is_lone(self.calls):
                self._require_bytes(size_bytes, held)
            self._held[caller] = held
            held.bytes += size_bytes
            held.calls += 1
            self.bytes += size_bytes
            self.calls += 1

    def enter_answer(self, answer_bytes: int, caller: str) -> None:
        """Counts a large answer that a call inside will have, before it is made. Raises RequestTooLarge where no answer
        may be as large, Overloaded."""
        if answer_bytes > self.max_answer_bytes:
            raise RequestTooLarge(
                f"the answer would have up to {answer_bytes:,} bytes, at most {self.max_answer_bytes:,} are given "
                f"here; ask for fewer classes, send fewer images per call, or start the server with a larger "
                f"--max-answer-bytes",
                refused_for="answer_size",
            )
        with self._lock:
            held = self._held[caller]
            if not self._is_lone(self.calls - 1):
                self._require_bytes(answer_bytes, held)
            held.bytes += answer_bytes
            self.bytes += answer_bytes

    def require_room(self, size_bytes: int, caller: str) -> None:
        """For calls that are answered at once and so are never inside. Raises RequestTooLarge for a message above the
        limit, Overloaded where the caller's answers that are not yet written leave no room."""
        self.require_size(size_bytes)
        held = self._held.get(caller)
        if held is not None and held.answer_bytes:
            if self.answer_bytes > self.max_bytes >> 3:
                self.settle()
            with self._lock:
                self._require_bytes(0, held)

    def require_size(self, size_bytes: int) -> None:
        """Raises RequestTooLarge for a message above the limit."""
        if size_bytes > self.max_message_bytes:
            raise RequestTooLarge(
                f"the request has {size_bytes:,} bytes, at most {self.max_message_bytes:,} are taken here; send fewer "
                f"images per call, or start the server with a larger --max-message-bytes",
                refused_for="message_size",
            )

    def enter_decoding(self, images: int, decoded_bytes: int, caller: str) -> None:
        """Counts the encoded images of a call inside, and what they will take once decoded. `leave_decoding` has to
        follow. Raises as `enter`; a lone call may pass the limit of images.
        """
        if decoded_bytes > self.max_message_bytes:
            raise RequestTooLarge(
                f"the images of the request decode to {decoded_bytes:,} bytes, at most {self.max_message_bytes:,} are "
                f"taken here; send fewer images per call, or start the server with a larger --max-message-bytes",
                refused_for="message_size",
            )
        with self._lock:
            if self.decodes and self.decodes + images > self.max_decodes:
                raise Overloaded(
                    f"{self.decodes:,} images wait to be decoded already and {images:,} more would pass the limit of "
                    f"{self.max_decodes:,}; try again later",
                    refused_for="decode",
                )
            held = self._held[caller]
            if not self._is_lone(self.calls - 1):
                self._require_bytes(decoded_bytes, held)
            held.bytes += decoded_bytes
            self.bytes += decoded_bytes
            self.decodes += images

    def leave_decoding(self, images: int) -> None:
        """Counts images out, once they are decoded."""
        with self._lock:
            self.decodes -= images

    def leave(self, size_bytes: int, caller: str, answer_bytes: int = 0) -> None:
        """Counts a call out, once it was answered. `size_bytes` is all that was counted for it; `answer_bytes` are held
        from now on, until they are `written`."""
        with self._lock:
            self.calls -= 1
            self.bytes += answer_bytes - size_bytes
            held = self._held[caller]
            held.calls -= 1
            held.bytes += answer_bytes - size_bytes
            if answer_bytes:
                held.answer_bytes += answer_bytes
                self.answer_bytes += answer_bytes
            elif not held.calls and not held.answer_bytes:
                del self._held[caller]
            if self._closed and self.calls == 0:
                self._empty.set()

    def hold(self, answer_bytes: int, caller: str) -> None:
        """Counts the answer of a call that was never inside, until it is `written`."""
        with self._lock:
            held = self._held.get(caller)
            if held is None:
                held = self._held[caller] = _Held()
            held.bytes += answer_bytes
            held.answer_bytes += answer_bytes
            self.bytes += answer_bytes
            self.answer_bytes += answer_bytes

    def written(self, answer_bytes: int, caller: str) -> None:
        """Counts out bytes of a caller's answers that are written, at most all that are held for it."""
        with self._lock:
            held = self._held.get(caller)
            if held is None:
                return
            answer_bytes = min(answer_bytes, held.answer_bytes)
            held.bytes -= answer_bytes
            held.answer_bytes -= answer_bytes
            self.bytes -= answer_bytes
            self.answer_bytes -= answer_bytes
            if not held.calls and not held.answer_bytes:
                del self._held[caller]

    def unwritten(self) -> dict[str, int]:
        """The bytes of answers that are not yet written, by caller."""
        with self._lock:
            return {caller: held.answer_bytes for caller, held in self._held.items() if held.answer_bytes}

    def close(self) -> None:
        """Lets nothing more in."""
        with self._lock:
            self._closed = True
            if self.calls == 0:
                self._empty.set()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """After `close`: waits until every call inside was answered; False where time ran out."""
        return self._empty.wait(timeout_s)

    def _is_lone(self, others: int) -> bool:
        """Whether a call may pass the limit of bytes: else one between the two limits could never be let in. Not while
        answers that nobody reads are held: each call alone could add to them."""
        return not others and self.answer_bytes <= self.max_bytes // 2

    def _require_bytes(self, size_bytes: int, held: _Held) -> None:
        free = self.max_bytes - self.bytes
        if size_bytes > free:
            raise Overloaded(
                f"{self.bytes:,} bytes are waiting already{_unread(self)} and {size_bytes:,} more would pass the limit "
                f"of {self.max_bytes:,}; try again later",
                refused_for="bytes",
            )
        if held.bytes > free:
            raise Overloaded(
                f"{held.bytes:,} bytes of this connection are waiting already{_unread(held)}; the {free:,} bytes that "
                f"are free are kept for others. Wait for answers before sending more",
                refused_for="share",
            )


def _unread(held: _Held | Admission) -> str:
    """Says how much of what is held are answers, where it is a good part."""
    if 2 * held.answer_bytes < held.bytes:
        return ""
    return f" ({held.answer_bytes:,} of them answers that are not read)"
