"""The signals that stop the server.

Owns a thread that waits for them, so that they are noticed whichever thread the kernel gives them to, and whatever the
main thread waits for. (Python runs handlers in the main thread, once it wakes up; after SIGSTOP and SIGCONT the kernel
may have woken another one.)
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
_STOPPING = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT from now on: the first one is given out, the second one ends the process at once."""

    def __init__(self, before_the_end: Callable[[], None]) -> None:
        """For the main thread, once in a process. `before_the_end` is called where the second one ends it."""
        self._before_the_end = before_the_end
        self._arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._numbers, self._written = socket.socketpair()
        self._written.setblocking(False)
        for number in _STOPPING:
            signal.signal(number, _leave_it_to_the_thread)
        signal.set_wakeup_fd(self._written.fileno())
        threading.Thread(target=self._watch, name="signals", daemon=True).start()

    def wait(self) -> int:
        """Returns the first one."""
        return self._arrived.get()

    def _watch(self) -> None:
        stopping = False
        while numbers := self._numbers.recv(64):
            for number in numbers:
                if number not in _STOPPING:
                    continue
                if stopping:
                    try:
                        self._before_the_end()
                    finally:
                        os._exit(INTERRUPTED)
                stopping = True
                self._arrived.put(number)


def _leave_it_to_the_thread(number: int, frame: FrameType | None) -> None:
    """A handler there has to be: without one the signal is not passed on."""
