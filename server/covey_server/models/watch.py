"""The thread that looks at files again and again: at the models folder, and, another one, at tokens and certificates.

It looks, in place of waiting for events (inotify): NFS, overlay and bind mounts, and disks that are unmounted and come
back send none, and a look at ten versions of five models takes 0.1 ms (AMD EPYC, ext4). A look at a network drive that
hangs, hangs this thread alone.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

# Loading and measuring a model is a core's work for a while; requests go first. At half load on two cores the p99 of
# requests during a reload was 3.4 times that before it at the usual priority, and 1.2 times at this one (a run each).
_LOWEST_PRIORITY = 19


def lower_priority() -> None:
    """For the calling thread: requests go first."""
    if sys.platform == "linux":  # where a thread has a priority of its own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)


class Watch:
    """Calls `refresh` every so often on a thread of its own."""

    def __init__(self, refresh: Callable[[], object], interval_s: float, subject: str = "models") -> None:
        """An interval of 0: never. `subject` is what is looked for."""
        self._refresh = refresh
        self._interval_s = interval_s
        self._subject = subject
        self._stopping = threading.Event()
        self._told: set[type[Exception]] = set()
        self._thread = threading.Thread(target=self._run, name=f"{subject}-watch", daemon=True)

    def start(self) -> None:
        if self._interval_s > 0:
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Ends the thread. False where it was still loading a model after that time; it ends after that one."""
        self._stopping.set()
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while not self._stopping.wait(self._interval_s):  # a monotonic wait: the wall clock may jump
            try:
                self._refresh()
            except Exception as error:
                if type(error) not in self._told:
                    log.error("looking for %s failed; this is a bug. Retrying", self._subject, exc_info=error)
                self._told.add(type(error))
            else:
                self._told.clear()
