"""Shows in logs and pipes, which have no progress bar, that work goes on: a line after some seconds of silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 10.0


class Heartbeat:
    """While `beating`, hands a line to `say` once `every_s` seconds have passed since the last one.

    The line describes the innermost `doing`; outside one, nothing is printed. It comes from a thread of its own, as
    downloads, conversions and tests report no steps.
    """

    def __init__(self, say: Callable[[str], None], every_s: float = EVERY_S) -> None:
        self._say = say
        self._every_s = every_s
        self._last_s = time.monotonic()
        self._doing: list[Callable[[], str]] = []
        self._ended = threading.Event()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Prints lines until it is left."""
        self.said()
        self._ended.clear()
        thread = threading.Thread(target=self._beat, name="covey-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def said(self) -> None:
        """A line was printed just now."""
        self._last_s = time.monotonic()

    @contextmanager
    def doing(self, what: str | Callable[[], str]) -> Iterator[None]:
        """What is being done until it is left: a text, to which the time so far is added, or a function that gives the
        line."""
        began_s = time.monotonic()

        def so_far() -> str:
            return f"{what}: {time.monotonic() - began_s:,.0f} s so far" if isinstance(what, str) else what()

        self._doing.append(so_far)
        try:
            yield
        finally:
            self._doing.remove(so_far)

    def _beat(self) -> None:
        while not self._ended.wait(max(0.0, self._last_s + self._every_s - time.monotonic())):
            if time.monotonic() < self._last_s + self._every_s:
                continue  # something was said meanwhile
            doing = self._doing[-1:]
            self.said()
            for say in doing:
                self._say(say())
