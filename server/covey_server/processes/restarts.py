"""When a process that has ended is started again, and when that has no more point."""

from __future__ import annotations

_FIRST_DELAY_S, _MAX_DELAY_S = 0.5, 30.0
_STEADY_S = 60.0  # a process that served for so long begins anew
MAX_FAILED_STARTS = 5  # in a row, while no other process serves


class Restarts:
    """Counts the ends of each place's processes."""

    def __init__(self) -> None:
        self.count = 0  # of processes that were started in another one's place
        self._failed_starts = 0  # in a row
        self._ends: dict[int, int] = {}  # in a row, by place

    def served(self) -> None:
        """A process has begun to serve."""
        self._failed_starts = 0

    def delay_s(self, place: int, ran_s: float, *, served: bool) -> float:
        """How long to wait before this place gets its next process: 0 the first time, then longer each time."""
        if not served:
            self._failed_starts += 1
        ends = self._ends[place] = 1 if served and ran_s >= _STEADY_S else self._ends.get(place, 0) + 1
        self.count += 1
        return 0.0 if ends == 1 else min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(ends - 2, 16))

    @property
    def is_hopeless(self) -> bool:
        """Whether so many starts in a row have failed that the next would, too. For when no process serves."""
        return self._failed_starts >= MAX_FAILED_STARTS
