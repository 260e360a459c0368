"""Ctrl-C as a request: the work under way comes to a good end first. A second Ctrl-C stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType


class StopRequest:
    """While entered, the first SIGINT sets `requested` and calls `on_request`."""

    def __init__(self, on_request: Callable[[], None]) -> None:
        self.requested = False
        self._on_request = on_request
        # Only the main thread may handle signals; elsewhere Ctrl-C is its business anyway.
        self._handles_signals = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> StopRequest:
        if self._handles_signals:
            self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handles_signals:
            signal.signal(signal.SIGINT, self._previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, self._previous)
        self._on_request()
