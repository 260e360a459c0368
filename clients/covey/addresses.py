"""Which of several servers is asked next: each in turn, those that could not be reached left out for a while.

Servers behind one name (`dns:///name:port`) are gRPC's own business; here each address has a channel of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

_FIRST_REST_S = 0.1
_MAX_REST_S = 2.0


class Addresses:
    """The turn of `count` addresses, by their places 0 to `count - 1`. Safe from any thread."""

    def __init__(self, count: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._turn = 0
        self._rests_s = [0.0] * count  # how long each was left out last; 0: it answered
        self._back_s = [0.0] * count  # when it may be asked again
        self._lock = threading.Lock()

    def next(self, tried: Collection[int] = ()) -> int:
        """Whose turn it is. Rather one that is not in `tried`, then rather one that does not rest."""
        count = len(self._rests_s)
        if count == 1:
            return 0
        with self._lock:
            now_s = self._clock_s()
            turns = [(self._turn + step) % count for step in range(count)]
            place = min(turns, key=lambda one: (one in tried, self._back_s[one] > now_s))  # of equals the first
            self._turn = (place + 1) % count
            if self._rests_s[place]:  # one call finds out whether it is back, the others leave it out for longer
                self._rests_s[place] = min(_MAX_REST_S, self._rests_s[place] * 2)
                self._back_s[place] = now_s + self._rests_s[place]
            return place

    def has_other(self, tried: Collection[int]) -> bool:
        """Whether there is an address that is not in `tried`."""
        return len(tried) < len(self._rests_s)

    def failed(self, place: int) -> None:
        """It could not be reached: left out for a while, longer each time."""
        with self._lock:
            if not self._rests_s[place]:
                self._rests_s[place] = _FIRST_REST_S
                self._back_s[place] = self._clock_s() + _FIRST_REST_S

    def answered(self, place: int) -> None:
        """It is there."""
        if self._rests_s[place]:
            with self._lock:
                self._rests_s[place] = self._back_s[place] = 0.0
