"""How far a long run is, on one line of a terminal; silent where nobody looks."""

from __future__ import annotations

import sys
import time

_EVERY_S = 0.2


class Progress:
    """Counts to `total`. Writes to the standard error, and only where that is a terminal."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()
        self._began_s = time.monotonic()
        self._next_s = self._began_s + _EVERY_S

    def step(self) -> None:
        self._done += 1
        if self._shown and (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + _EVERY_S
            per_second = self._done / (now_s - self._began_s)
            line = f"\r{self._done:,} of {self._total:,} files, {per_second:,.0f}/s"
            print(line, end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipes the line out."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
