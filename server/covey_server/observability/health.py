"""Whether the server works and takes requests: set by the app, asked by probes, protocols and metrics."""

from __future__ import annotations


class Health:
    """The state of one server. It begins live and not ready."""

    def __init__(self) -> None:
        self.live = True  # the process works: no batch hangs
        self.serving = False  # between start and stop

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return self.serving and self.live
