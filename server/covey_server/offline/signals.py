"""The signals that end a batch in order."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Self


class Interrupted(Exception):
    """A signal ended the batch."""


class Signals:
    """While entered, SIGINT and SIGTERM end the run in order; a second one ends the process at once."""

    def __init__(self) -> None:
        self._requested = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises Interrupted once a signal came."""
        if self._requested:
            raise Interrupted

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
