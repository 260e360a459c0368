"""Whose turn it is among the callers of one model: start-time fair queueing (Goyal, Vin, Cheng 1996).

Each request has a turn, a number; the lowest is next. A caller's next request gets the turn of its last one plus that
one's images; a caller who had nothing waiting gets the turn just before the one that runs now.

Each priority has turns of its own. Those of priority batch begin at BATCH, behind all others.
"""

from __future__ import annotations

BATCH = 1 << 62  # the first turn of priority batch; more than all images that will ever be
_MIN_REMEMBERED = 64  # callers, before those without a turn to come are dropped


class Turns:
    """The turns of one priority, by caller. The batcher, which owns them, holds the lock."""

    __slots__ = ("_max_remembered", "_next", "clock")

    def __init__(self, first: int = 0) -> None:
        self.clock = first + 1  # the latest turn that has begun
        self._next: dict[str, int] = {}  # by caller, of those whose turn has not come
        self._max_remembered = _MIN_REMEMBERED

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._next)

    def next_of(self, caller: str) -> int:
        """The turn that a caller's next request would get."""
        return max(self.clock - 1, self._next.get(caller, 0))

    def take(self, caller: str, images: int) -> int:
        """The turn of a caller's next request; the one after it comes later by so many images."""
        turn, turns = self.next_of(caller), self._next
        if len(turns) >= self._max_remembered:
            for other in [other for other, next_turn in turns.items() if next_turn < self.clock]:
                del turns[other]
            self._max_remembered = max(_MIN_REMEMBERED, 2 * len(turns))
        turns[caller] = turn + images
        return turn

    def give_back(self, caller: str, images: int) -> bool:
        """Moves a caller forward by images that will not run. False if it is not remembered."""
        if caller not in self._next:
            return False
        self._next[caller] -= images
        return True
