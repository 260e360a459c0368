"""The connection guard: limits what connections take that no call accounts for, which is open connections, half-sent
messages and unread answers.

The fronts' libraries have no such limits. So a thread looks at the process's own sockets: which bytes were received and
not handed over as a call, which answers are not written, and since when a connection is silent. It closes the worst.
Linux only.

A look costs about 7 us per connection. There is one every second, and at once when memory grows, answers pile up or
files run out, which is checked 20 times a second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from covey_server.batching.admission import Admission
from covey_server.fronts import CLOSE_REASONS, CloseReason, Front
from covey_server.fronts.connection_table import MIN_UNFINISHED_BYTES, Connection, ConnectionTable
from covey_server.fronts.sockets import has_files_left
from covey_server.system.process_memory import ProcessMemory

log = logging.getLogger(__name__)

PREFACE_S = 10.0  # for a new connection to begin HTTP/2
UNUSED_S = 300.0  # for a connection that never made a call
UNREAD_S = 60.0  # in which a caller read nothing of its answers
KEPT_FILES = 64  # kept free for probes, models and the metrics port
_TICK_S, _QUIET_TICK_S, _LOOK_S, _SETTLE_S = 0.05, 0.1, 1.0, 0.005
_LOOK_PER_CONNECTION_S = 0.002
_GROWING_TICK_S = 0.01  # while memory grows: a gigabyte can come in a second
_PREFACE_BYTES = 33  # of HTTP/2: the preface and an empty SETTINGS frame
# Of address space: pygrpc-native reserves what a message's header announces, up to 4 GB for each call, and ends the
# process if it cannot (at 128 TB).
_MAX_RESERVED_BYTES = 1 << 40
_GROWTH_BYTES = 8 << 20  # of memory since the last look; with more, the guard looks at once
_LOG_S = 10.0  # between two log lines for one reason

_TEXTS: dict[CloseReason, str] = {
    "preface": "that did not begin to speak HTTP/2 within 10 s",
    "idle": "that were silent for too long",
    "places": "that had been silent for longest, since no places were left",
    "unfinished": "that held the most bytes of half-sent messages",
    "unread": "whose callers took nothing of their answers for 60 s",
}


@dataclass(frozen=True)
class Limits:
    """`max_bytes` is for calls, answers and half-sent messages together; `min_unfinished_bytes` of half-sent ones are
    always allowed, so that the largest message fits. `idle_s` 0: connections may be silent for ever."""

    max_connections: int
    max_bytes: int
    min_unfinished_bytes: int
    look_bytes: int  # of unwritten answers; with more, the guard looks at once
    idle_s: float = 0.0


class ConnectionGuard:
    """Watches the connections of one front, from `start` to `stop`."""

    def __init__(
        self,
        port: int,
        front: Front,
        admission: Admission,
        limits: Limits,
        decoding_bytes: Callable[[], int],
    ) -> None:
        """`decoding_bytes` tells how much decoders may hold at the moment."""
        self.closed: dict[CloseReason, int] = dict.fromkeys(CLOSE_REASONS, 0)
        self._front = front
        self._admission = admission
        self._limits = limits
        self._decoding_bytes = decoding_bytes
        self._table = ConnectionTable(port, front, admission)
        self._lock = threading.Lock()  # of the table, since scrapes look too
        self._memory = ProcessMemory()
        memory_bytes, reserved_bytes = self._memory.look()
        self._base_bytes = self._seen_bytes = memory_bytes
        self._base_reserved_bytes = reserved_bytes
        self._stopped = False
        self._looked_s = self._settled_s = 0.0
        self._logged_s: dict[CloseReason, float] = {}
        self._unlogged: dict[CloseReason, int] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="connections", daemon=True)

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._table.open)

    @property
    def unfinished_bytes(self) -> int:
        """Bytes received on all connections that belong to no call yet."""
        return sum(max(0, each.unfinished) for each in list(self._table.open.values()) if not each.is_closing)

    def start(self) -> None:
        """Watches from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._stopped = True
            self._memory.close()

    def look(self) -> None:
        """Looks at all connections now, from any thread; after `stop` no more."""
        with self._lock:
            if not self._stopped:
                self._look_and_close(time.monotonic(), is_short=False)

    def settle(self) -> None:
        """Finds out which answers are written meanwhile, from any thread. Does nothing within a few milliseconds of the
        last time."""
        now_s = time.monotonic()
        if now_s < self._settled_s + _SETTLE_S or self._front.tells_written:
            return
        with self._lock:
            self._settled_s = now_s
            if not self._table.settle(now_s) and not self._stopped:
                self._look(now_s)

    def _run(self) -> None:
        wait_s = _QUIET_TICK_S
        while not self._ending.wait(wait_s):
            try:
                has_grown = self._tick(time.monotonic())
                wait_s = _GROWING_TICK_S if has_grown else _TICK_S if self._table.open else _QUIET_TICK_S
            except Exception:
                log.exception("connections were not looked at; this is a bug")

    def _tick(self, now_s: float) -> bool:
        """Looks and closes if it is time for that. Returns whether memory grows."""
        is_short = not has_files_left(KEPT_FILES)
        memory_bytes, reserved_bytes = self._memory.look()
        # It follows memory down too: measured from a peak, each round of an attack could go beyond the one before.
        self._seen_bytes = min(self._seen_bytes, memory_bytes)
        has_grown = memory_bytes > self._seen_bytes + _GROWTH_BYTES
        is_reserved = reserved_bytes > self._base_reserved_bytes + _MAX_RESERVED_BYTES
        has_answers = self._admission.answer_bytes > self._limits.look_bytes
        if is_short or has_grown or is_reserved or has_answers or now_s - self._looked_s >= self._interval_s():
            with self._lock:
                self._look_and_close(now_s, is_short)
                if is_reserved:
                    for connection in [each for each in self._table.open.values() if each.unfinished > 0]:
                        self._close(connection, "unfinished")
        return has_grown or is_reserved

    def _interval_s(self) -> float:
        """Between two regular looks: longer with many connections, so that they cost little."""
        return max(_LOOK_S, len(self._table.open) * _LOOK_PER_CONNECTION_S)

    def _look_and_close(self, now_s: float, is_short: bool) -> None:
        self._look(now_s)
        self._close_some(now_s, is_short)

    def _look(self, now_s: float) -> None:
        self._table.look(now_s)
        self._note_memory()
        self._looked_s = now_s

    def _note_memory(self) -> None:
        """Notes how much memory the process takes by itself, when nothing is inside."""
        self._seen_bytes, reserved_bytes = self._memory.look()
        is_quiet = not self._admission.bytes and self.unfinished_bytes < MIN_UNFINISHED_BYTES
        if is_quiet or self._seen_bytes < self._base_bytes:
            self._base_bytes = self._seen_bytes
        if not self._table.open:  # with connections, slow attackers would raise it step by step
            self._base_reserved_bytes = reserved_bytes

    def _close_some(self, now_s: float, is_short: bool) -> None:
        for connection in list(self._table.open.values()):
            if not connection.is_used and connection.received < _PREFACE_BYTES:
                if now_s - connection.opened_s > PREFACE_S:
                    self._close(connection, "preface")
            elif now_s - connection.active_s > (self._limits.idle_s if connection.is_used else UNUSED_S) > 0:
                self._close(connection, "idle")
            elif connection.unread and now_s - connection.progress_s > UNREAD_S:
                self._close(connection, "unread")
        too_many = max(len(self._table.open) - self._limits.max_connections, KEPT_FILES if is_short else 0)
        if too_many > 0:
            self._make_places(now_s, too_many)
        allowed = max(self._limits.min_unfinished_bytes, self._limits.max_bytes - self._admission.bytes)
        if self.unfinished_bytes > allowed:
            self._close_unfinished(now_s, allowed)

    def _make_places(self, now_s: float, count: int) -> None:
        """Closes connections that never made a call first, then those that have been silent for longest."""
        silent = [
            each
            for each in self._table.open.values()
            if not each.is_closing and now_s - each.active_s > (1.0 if each.is_used else 0.25)
        ]
        silent.sort(key=lambda each: (each.is_used, each.active_s))
        for connection in silent[:count]:
            self._close(connection, "places")

    def _close_unfinished(self, now_s: float, allowed: int) -> None:
        held = self.unfinished_bytes
        grown = max(0, self._seen_bytes - self._base_bytes - self._admission.bytes)
        if 2 * grown < held:  # most of it is not in memory: its uploads were given up, and freed
            for connection in self._table.open.values():
                connection.unfinished = connection.unfinished * grown // held
            return
        if 2 * (grown - self._decoding_bytes()) < held:
            return  # decoders may have taken that memory; decided at a later look
        # `held` does not count closing ones. Connections that have stopped sending go first.
        by_size = sorted(
            (each for each in self._table.open.values() if not each.is_closing),
            key=lambda each: each.unfinished * (4 if now_s - each.active_s > 2 else 1),
            reverse=True,
        )
        for connection in by_size:
            if held <= allowed * 3 // 4 or connection.unfinished < MIN_UNFINISHED_BYTES:
                return
            held -= connection.unfinished
            self._close(connection, "unfinished")

    def _close(self, connection: Connection, reason: CloseReason) -> None:
        if connection.is_closing:
            return
        connection.is_closing = True  # until a later look finds it gone
        self.closed[reason] += 1  # before it is closed, so that its caller never sees older metrics
        if self._table.sockets.end(connection.number):
            self._log(reason)
        else:  # it was gone already
            self.closed[reason] -= 1

    def _log(self, reason: CloseReason) -> None:
        now_s = time.monotonic()
        self._unlogged[reason] = self._unlogged.get(reason, 0) + 1
        if now_s - self._logged_s.get(reason, -_LOG_S) >= _LOG_S:
            log.warning("closed %d connection(s) %s", self._unlogged.pop(reason), _TEXTS[reason])
            self._logged_s[reason] = now_s
