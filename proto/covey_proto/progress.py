"""How far a long run is: on one line of a terminal, which is wiped out; elsewhere a line now and then."""

from __future__ import annotations

import sys
import time

from covey_proto.wording import plural

_EVERY_S = 0.2
LINE_EVERY_S = 10.0  # where nobody looks: in a log, in CI


class Progress:
    """Counts to `total`, if that is known. Writes to the standard error; where that is no terminal, each `line_every_s`
    seconds."""

    def __init__(
        self, total: int | None, line_every_s: float = LINE_EVERY_S, *, unit: str = "file", done: int = 0
    ) -> None:
        """`done` of them were there before, and do not count for the speed."""
        self._total = total
        self._unit = unit
        self._before = self._done = done
        self._shown = sys.stderr.isatty()
        self._every_s = _EVERY_S if self._shown else line_every_s
        self._began_s = time.monotonic()
        self._next_s = self._began_s + self._every_s

    def step(self, count: int = 1, fraction: float | None = None) -> None:
        """`fraction` says how far it is where no total is known."""
        self._done += count
        self.show(fraction)

    def show(self, fraction: float | None = None) -> None:
        """Writes a line if it is time for one."""
        if (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + self._every_s
            per_second = (self._done - self._before) / (now_s - self._began_s)
            line = f"{self._far(fraction)}, {per_second:,.0f}/s"
            begin, end = ("\r", "\x1b[K") if self._shown else ("", "\n")
            print(f"{begin}{line}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Wipes the line out."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _far(self, fraction: float | None) -> str:
        if self._total is not None:
            return f"{self._done:,} of {plural(self._total, self._unit)}"
        return plural(self._done, self._unit) + ("" if fraction is None else f", {fraction:.0%} read")
