"""Which of several servers is asked next: the one that has the fewest calls of this client, in turn among equals.
Those that could not be reached, or failed with INTERNAL or UNKNOWN, are left out for a while.

In turn alone, a server that is slower than the others collects calls until it refuses them: where one of ten took twice
as long, p99 at 80 % load was 48 ms, and 2.5 ms by the fewest calls (simulated, docs/scale.md).

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
        self._calls = [0] * count  # in flight
        self._lock = threading.Lock()

    def take(self, tried: Collection[int] = ()) -> int:
        """Where the next call goes, until `release`: rather to an address that is not in `tried`, then rather to one
        that does not rest, then to the one with the fewest calls."""
        count = len(self._rests_s)
        if count == 1:
            return 0
        with self._lock:
            now_s = self._clock_s()
            turns = [(self._turn + step) % count for step in range(count)]
            place = min(  # of equals the first
                turns, key=lambda one: (one in tried, self._back_s[one] > now_s, self._calls[one])
            )
            self._turn = (place + 1) % count
            self._calls[place] += 1
            if self._rests_s[place]:  # one call finds out whether it is back, the others leave it out for longer
                self._rests_s[place] = min(_MAX_REST_S, self._rests_s[place] * 2)
                self._back_s[place] = now_s + self._rests_s[place]
            return place

    def release(self, place: int) -> None:
        """The call that went there has ended."""
        if len(self._calls) > 1:
            with self._lock:
                self._calls[place] -= 1

    def has_other(self, tried: Collection[int]) -> bool:
        """Whether there is an address that is not in `tried`."""
        return len(tried) < len(self._rests_s)

    def failed(self, place: int) -> None:
        """It could not be reached, or failed with INTERNAL or UNKNOWN: left out for a while, longer each time."""
        with self._lock:
            if not self._rests_s[place]:
                self._rests_s[place] = _FIRST_REST_S
                self._back_s[place] = self._clock_s() + _FIRST_REST_S

    def answered(self, place: int) -> None:
        """It is there."""
        if self._rests_s[place]:
            with self._lock:
                self._rests_s[place] = self._back_s[place] = 0.0
