"""How far a long run is: on one line of a terminal, which is wiped out; elsewhere a line now and then."""

from __future__ import annotations

import sys
import time

from covey_proto.wording import plural

_EVERY_S = 0.2
LINE_EVERY_S = 10.0  # where nobody looks: in a log, in CI


class Progress:
    """Counts to `total`. Writes to the standard error; where that is no terminal, each `line_every_s` seconds."""

    def __init__(self, total: int, line_every_s: float = LINE_EVERY_S) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()
        self._every_s = _EVERY_S if self._shown else line_every_s
        self._began_s = time.monotonic()
        self._next_s = self._began_s + self._every_s

    def step(self) -> None:
        self._done += 1
        if (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + self._every_s
            per_second = self._done / (now_s - self._began_s)
            line = f"{self._done:,} of {plural(self._total, 'file')}, {per_second:,.0f}/s"
            begin, end = ("\r", "") if self._shown else ("", "\n")
            print(f"{begin}{line}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipes the line out."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
