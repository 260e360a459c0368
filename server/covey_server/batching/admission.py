"""Admission: the one place where load is refused. It limits the calls, the bytes and the encoded images inside the
server, and the share of them that one caller may hold.

A call is inside from its arrival until it is answered, so admission also knows when the server has drained. The
answer's bytes count for the caller until the front says that they are written: a caller who does not read answers is
soon refused.

A caller may hold no more than is left free. Alone it gets half of a limit, two that flood get a third each, and there
is always room for another caller (dynamic thresholds: Choudhury, Hahne 1998).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from covey_server.errors import Overloaded, RequestTooLarge, Stopping


class _Held:
    """What one caller holds."""

    __slots__ = ("answer_bytes", "bytes", "calls", "decodes")

    def __init__(self) -> None:
        self.calls = 0
        self.decodes = 0
        self.bytes = 0  # of calls and answers
        self.answer_bytes = 0  # of answers that are not written yet

    @property
    def is_nothing(self) -> bool:
        return not (self.calls or self.answer_bytes or self.decodes)


_NOTHING = _Held()


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
        self.answer_bytes = 0  # of answers that are not written yet
        self.decodes = 0
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        # Finds out which answers are written meanwhile, if the front does not tell. Called while many bytes are held.
        self.settle: Callable[[], None] = lambda: None
        self._closed = False
        self._empty = threading.Event()

    def enter(self, size_bytes: int, caller: str) -> None:
        """Lets a call in. Raises RequestTooLarge, Overloaded or Stopping; then it is not in."""
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
                raise _over_share(f"{held.calls:,} calls", f"{free:,} places")
            if not self._is_lone(self.calls):
                self._require_bytes(size_bytes, held)
            self._held[caller] = held
            held.bytes += size_bytes
            held.calls += 1
            self.bytes += size_bytes
            self.calls += 1

    def enter_together(self, calls: Mapping[str, int], size_bytes: int) -> bool:
        """Lets calls of `size_bytes` each in: so many of each caller. Returns False, with none of them in, unless all
        have room: then `enter` decides on one after the other."""
        count = sum(calls.values())
        if size_bytes > self.max_message_bytes or self.answer_bytes > self.max_bytes >> 3:
            return False
        with self._lock:
            free, free_bytes = self.max_calls - self.calls - count, self.max_bytes - self.bytes - count * size_bytes
            if self._closed or free < 0 or free_bytes < 0:
                return False
            for caller, number in calls.items():
                # What a caller holds before its last call against what is free before the last call of all.
                now = self._held.get(caller) or _NOTHING
                most_bytes = now.bytes + (number - 1) * size_bytes
                if now.calls + number - 1 > free + 1 or most_bytes > free_bytes + size_bytes:
                    return False
            for caller, number in calls.items():
                held = self._held.get(caller)
                if held is None:
                    held = self._held[caller] = _Held()
                held.calls += number
                held.bytes += number * size_bytes
            self.calls += count
            self.bytes += count * size_bytes
        return True

    def enter_answer(self, answer_bytes: int, caller: str) -> None:
        """Counts the large answer of a call inside before it is made. Raises RequestTooLarge if no answer may be as
        large, Overloaded if there is no room for it now."""
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
        """For calls that are answered at once, and so are never inside. Raises RequestTooLarge for a message above the
        limit, Overloaded if the caller's unwritten answers leave no room."""
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
        """Counts the encoded images of a call inside, and the bytes they will have once decoded. `leave_decoding` has
        to follow. Raises RequestTooLarge or Overloaded.

        A call of more images than half of the limit counts as that half, and is let in only if a quarter is left free:
        one such call, however large, leaves places for others. A caller shares the places as it shares all else.
        """
        places = self._places(images)
        limit = self.max_decodes if places == images else places + self.max_decodes // 4
        if decoded_bytes > self.max_message_bytes:
            raise RequestTooLarge(
                f"the images of the request decode to {decoded_bytes:,} bytes, at most {self.max_message_bytes:,} are "
                f"taken here; send fewer images per call, or start the server with a larger --max-message-bytes",
                refused_for="message_size",
            )
        with self._lock:
            if self.decodes and self.decodes + places > limit:
                raise Overloaded(
                    f"{self.decodes:,} images wait to be decoded already and {images:,} more would pass the limit of "
                    f"{self.max_decodes:,}; try again later",
                    refused_for="decode",
                )
            held = self._held[caller]
            free = self.max_decodes - self.decodes
            if held.decodes > free:
                raise _over_share(f"{held.decodes:,} images", f"{free:,} places")
            if not self._is_lone(self.calls - 1):
                self._require_bytes(decoded_bytes, held)
            held.bytes += decoded_bytes
            held.decodes += places
            self.bytes += decoded_bytes
            self.decodes += places

    def enter_decoding_again(self, images: int, caller: str) -> None:
        """Counts the images of a call inside that are decoded once more, but not their bytes, which still count.
        `leave_decoding` has to follow. Refuses nothing: such calls are few."""
        places = self._places(images)
        with self._lock:
            self._held[caller].decodes += places
            self.decodes += places

    def leave_decoding(self, images: int, caller: str) -> None:
        """Counts out images that are decoded. Their call may have left before."""
        places = self._places(images)
        with self._lock:
            held = self._held[caller]
            held.decodes -= places
            self.decodes -= places
            if held.is_nothing:
                del self._held[caller]

    def _places(self, images: int) -> int:
        return min(images, max(1, self.max_decodes // 2))

    def leave(self, size_bytes: int, caller: str, answer_bytes: int = 0) -> None:
        """Counts out a call that is answered. `size_bytes` is all that was counted for it; `answer_bytes` count from
        now on, until they are `written`."""
        with self._lock:
            self.calls -= 1
            self.bytes += answer_bytes - size_bytes
            held = self._held[caller]
            held.calls -= 1
            held.bytes += answer_bytes - size_bytes
            if answer_bytes:
                held.answer_bytes += answer_bytes
                self.answer_bytes += answer_bytes
            elif not held.calls and held.is_nothing:
                del self._held[caller]
            if self._closed and self.calls == 0:
                self._empty.set()

    def leave_together(self, calls: Mapping[str, int], size_bytes: int, answers: Mapping[str, int]) -> None:
        """Counts out what `enter_together` let in. `answers` are the bytes of the answers by caller, as in `leave`."""
        with self._lock:
            for caller, number in calls.items():
                answer_bytes = answers.get(caller, 0)
                held = self._held[caller]
                held.calls -= number
                held.bytes += answer_bytes - number * size_bytes
                held.answer_bytes += answer_bytes
                self.calls -= number
                self.bytes += answer_bytes - number * size_bytes
                self.answer_bytes += answer_bytes
                if not held.calls and held.is_nothing:
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
        """Counts out bytes of a caller's answers that are written; at most what is counted for it."""
        with self._lock:
            held = self._held.get(caller)
            if held is None:
                return
            answer_bytes = min(answer_bytes, held.answer_bytes)
            held.bytes -= answer_bytes
            held.answer_bytes -= answer_bytes
            self.bytes -= answer_bytes
            self.answer_bytes -= answer_bytes
            if held.is_nothing:
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
        """After `close`: waits until every call inside is answered. Returns False if time ran out."""
        return self._empty.wait(timeout_s)

    def _is_lone(self, others: int) -> bool:
        """Whether a call is alone and so may pass the limit of bytes: one that is larger could never get in otherwise.
        Not while many unread answers are held, to which one call after another could add."""
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
            raise _over_share(f"{held.bytes:,} bytes", f"{free:,} bytes", _unread(held))


def _over_share(held: str, free: str, remark: str = "") -> Overloaded:
    return Overloaded(
        f"{held} of this connection are waiting already{remark}; the {free} that are free are kept for others. Wait "
        f"for answers before sending more",
        refused_for="share",
    )


def _unread(held: _Held | Admission) -> str:
    """Says how many of the bytes are unread answers, if those are at least half."""
    if 2 * held.answer_bytes < held.bytes:
        return ""
    return f" ({held.answer_bytes:,} of them answers that are not read)"
