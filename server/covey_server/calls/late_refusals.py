"""Refusals that are answered a moment later: those of callers who have passed their own limits.

A caller that sends again as soon as it is refused takes CPU from everybody, although none of its calls runs. While its
refusal is held back it waits, as the refusal asks of it anyway. Beside a flood of 64 calls in flight with such limits,
a quiet caller's p99 was 1.8 to 2.5 times that without the flood, instead of 3.1 to 5.2 (`python -m bench.principals`).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
import threading
import time

from covey_server.calls.call import Call
from covey_server.calls.status import Status
from covey_server.errors import Overloaded

log = logging.getLogger(__name__)

HOLD_S = 0.1  # on average: 64 calls in flight then come 640 times a second, not 13,000 times
MAX_HELD = 4096  # calls at once; beyond, they are refused without delay
_SPREAD = 0.5  # either way: calls that are answered together come back together, and hold up what comes behind them
_TOGETHER_S = 0.002  # what is due within so long is answered at once: fewer wake-ups


class LateRefusals:
    """Holds calls that are refused, and the thread that answers them, which starts with the first. Safe from any
    thread."""

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._hold_s = hold_s
        self._held: list[tuple[float, int, Call, Status]] = []  # a heap, by when each is due
        self._numbers = itertools.count()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._held)

    def fail(self, call: Call, status: Status) -> None:
        """Answers a call with a status, later; within half of the time that its deadline leaves."""
        now_s = time.monotonic()
        wait_s = self._hold_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)
        if call.deadline_ns is not None:
            wait_s = min(wait_s, (call.deadline_ns / 1e9 - now_s) / 2)
        call.payload = b""  # nobody reads it any more
        with self._change:
            if wait_s > 0 and len(self._held) < MAX_HELD and not self._is_closed:
                held = (now_s + wait_s, next(self._numbers), call, status)
                heapq.heappush(self._held, held)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="late-refusals", daemon=True)
                    self._thread.start()
                elif self._held[0] is held:
                    self._change.notify()
                return
        call.fail(status)

    def close(self) -> None:
        """Answers all calls that are held, and from now on every call at once."""
        with self._change:
            self._is_closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while due := self._next():
            for _, _, call, status in due:
                try:
                    call.fail(status)
                except Exception:
                    log.exception("a refusal was lost; this is a bug")

    def _next(self) -> list[tuple[float, int, Call, Status]]:
        """What is to be answered now, once there is something; nothing at the end."""
        with self._change:
            while not self._is_closed:
                until_s = time.monotonic() + _TOGETHER_S
                if self._held and self._held[0][0] <= until_s:
                    break
                self._change.wait(self._held[0][0] - until_s + _TOGETHER_S if self._held else None)
            due = []
            while self._held and (self._is_closed or self._held[0][0] <= until_s):
                due.append(heapq.heappop(self._held))
            return due


def fail(call: Call, error: Exception, status: Status) -> None:
    """Answers a call with the status of an error: later, if it is the limits of its principal that refuse it."""
    if isinstance(error, Overloaded) and error.fail_late is not None and not call.waits_for_room:
        error.fail_late(call, status)
    else:
        call.fail(status)
