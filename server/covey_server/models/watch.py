"""A thread that looks for changes regularly: one for the models folder, another one for tokens and certificates.

It polls, since NFS, overlay and bind mounts, and disks that come back, send no events (inotify). A look at ten versions
of five models takes 0.1 ms (AMD EPYC, ext4). If a network drive hangs, only this thread hangs with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from covey_server.system.threads import lower_priority

log = logging.getLogger(__name__)


class Watch:
    """Calls `refresh` at an interval, on a thread of its own."""

    def __init__(self, refresh: Callable[[], object], interval_s: float, subject: str = "models") -> None:
        """With an interval of 0 it never does. `subject` names what is looked for, in the log."""
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
        """Ends the thread. Returns False if it is still loading a model after that time; then it ends after that."""
        self._stopping.set()
        if self._thread.ident is not None:  # else it was never started
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        lower_priority()
        while not self._stopping.wait(self._interval_s):  # this wait is monotonic: the wall clock may jump
            try:
                self._refresh()
            except Exception as error:
                if type(error) not in self._told:
                    log.error("looking for %s failed; this is a bug. Retrying", self._subject, exc_info=error)
                self._told.add(type(error))
            else:
                self._told.clear()
