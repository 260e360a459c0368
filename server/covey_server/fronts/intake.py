"""The thread that takes calls, and the next one that takes over if it is held up.

A thread that was held up ends when it finds that another one takes calls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from covey_server.system.threads import ADVICE

log = logging.getLogger(__name__)


class Intake:
    """Takes calls, on one thread at a time. Safe from any thread."""

    def __init__(self, name: str, take: Callable[[], bool]) -> None:
        """`take` waits for calls and hands them over; it returns False once no more can come."""
        self._name = name
        self._take = take
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []  # not ended yet; the last one takes calls
        self._stopped = False
        self._resumed = threading.Event()
        self._resumed.set()

    def start(self) -> None:
        """Begins to take calls."""
        with self._lock:
            self._begin()

    def take_over(self, thread: int) -> None:
        """Tells that this thread (threading.get_ident) is held up: if it takes calls, another one does from now on."""
        with self._lock:
            if self._threads and self._threads[-1].ident == thread and not self._stopped:
                try:
                    self._begin()
                except RuntimeError as error:  # then that thread takes calls again when it can
                    log.error("calls wait for the thread that takes them: %s; %s", error, ADVICE)

    def pause(self) -> None:
        """Takes at most one more burst, until `resume`: calls wait where they are."""
        self._resumed.clear()

    def resume(self) -> None:
        """Takes calls again."""
        self._resumed.set()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is the one that takes calls."""
        return self._threads[-1] is threading.current_thread()

    def join(self, timeout_s: float) -> None:
        """Waits for the threads to end. To be called when no more calls can come."""
        give_up = time.monotonic() + timeout_s
        with self._lock:
            self._stopped = True
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _begin(self) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            self._threads.remove(thread)
            raise

    def _run(self) -> None:
        while self.is_current and (self._resumed.is_set() or self._resumed.wait()) and self._take():
            pass
