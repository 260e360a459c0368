"""The signals that stop the server.

A thread of its own waits for them, so that they are noticed whichever thread the kernel sends them to, and whatever the
main thread waits for. (Python runs handlers in the main thread when that wakes up; after SIGSTOP and SIGCONT the kernel
may have woken another thread.)
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130
_HANGUP = signal.SIGHUP  # a terminal closes: bash and the kernel may both say so, so that it is never the second one
_STOPPING = (signal.SIGTERM, signal.SIGINT, _HANGUP)


class StopSignals:
    """Handles SIGTERM, SIGINT and SIGHUP from now on: `wait` returns the first one, the second one ends the process at
    once. SIGHUP has no effect once the process stops, or if it was started to ignore it (nohup)."""

    def __init__(self, before_the_end: Callable[[], None]) -> None:
        """To be made in the main thread, once. `before_the_end` is called before the second signal ends the process."""
        self._before_the_end = before_the_end
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._numbers, self._written = socket.socketpair()
        self._written.setblocking(False)
        for number in _STOPPING:
            if number == _HANGUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            signal.signal(number, _leave_it_to_the_thread)
        signal.set_wakeup_fd(self._written.fileno())
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def wait(self) -> int:
        """Waits for the first signal and returns its number."""
        return self._arrived.get()

    def stop(self) -> None:
        """As a first signal; from any thread. Does not count as one: the next signal is not the second."""
        self._arrived.put(signal.SIGTERM)

    def _watch(self) -> None:
        stopping = False
        while numbers := self._numbers.recv(64):
            for number in numbers:
                if number not in _STOPPING or (stopping and number == _HANGUP):
                    continue
                if stopping:
                    try:
                        self._before_the_end()
                    finally:
                        os._exit(INTERRUPTED)
                stopping = True
                self._arrived.put(number)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """Does nothing, but without a handler Python does not pass the signal on."""
