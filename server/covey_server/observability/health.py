"""Whether the server works and takes requests: set by the app, asked by probes, protocols and metrics."""

from __future__ import annotations

import threading


class Health:
    """The state of one server. It begins live and not ready. Where several processes are the server, callers may reach
    any of them, so each shows the state of all."""

    def __init__(self) -> None:
        self.works = True  # no batch of this process hangs
        self.serving = False  # between start and stop
        self.others_live = self.others_ready = True
        self.showing = threading.Lock()  # held by the thread that shows the state elsewhere

    @property
    def live(self) -> bool:
        """Whether the server works; else a restart helps."""
        return self.works and self.others_live

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.serving and self.live and self.others_ready
