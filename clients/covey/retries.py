"""Whether a failed call is retried, and after which pause. Only decides; the clients wait.

Retried is what another attempt may answer: Unavailable, and Overloaded where the server said when it expects room.
Classifying an image twice does no harm. A budget keeps clients from adding load to overloaded servers: over time,
retries are at most a fifth of the calls.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from covey.errors import CallError, HandshakeFailed, InvalidInput, Overloaded, Unavailable

DEFAULT_RETRIES = 4  # of one call: a second or so until a server that is not there is called so
_BUDGET = 500.0  # retries that may be saved up: all that is in flight when a server goes away, once
_EARNED = 0.2  # by each call that was answered
_FIRST_PAUSE_S = 0.05
_MAX_PAUSE_S = 2.0


class Retries:
    """The rule and the budget of one client. Safe from any thread. `chance` gives 0 to 1.

    Raises InvalidInput where `limit`, the retries of one call, is not a whole number of 0 or more.
    """

    def __init__(self, limit: int = DEFAULT_RETRIES, chance: Callable[[], float] = random.random) -> None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise InvalidInput(f"retries must be a whole number, 0 for none, not {limit!r}")
        self.limit = limit
        self._chance = chance
        self._saved = _BUDGET
        self._lock = threading.Lock()

    def answered(self) -> None:
        """A call was answered: it earns a part of a later retry."""
        if self._saved < _BUDGET:
            with self._lock:
                self._saved = min(_BUDGET, self._saved + _EARNED)

    def pause_s(self, error: CallError, attempt: int, remaining_s: float, *, elsewhere: bool = False) -> float | None:
        """How long to wait before the next attempt; None where there is none, and `error` is the answer.

        `attempt` counts from 1, `remaining_s` is what the deadline leaves, `elsewhere` says that the next attempt
        goes to a server this call has not asked yet: it goes at once.
        """
        hint_ms = error.retry_after_ms if isinstance(error, Overloaded) else None
        if attempt > self.limit or not (isinstance(error, Unavailable) or hint_ms is not None):
            return None
        if isinstance(error, HandshakeFailed) and not elsewhere:
            return None
        pause_s = 0.0 if elsewhere else self._drawn_s(hint_ms, attempt)
        if pause_s >= remaining_s:  # it could only turn this error into one of the deadline, which says less
            return None
        with self._lock:
            if self._saved < 1:
                return None
            self._saved -= 1
        return pause_s

    def _drawn_s(self, hint_ms: int | None, attempt: int) -> float:
        """Callers that failed together must not come back together: half as much again by chance, at the most."""
        if hint_ms is not None:
            return hint_ms / 1_000 * (1 + self._chance() / 2)
        pause_s = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (attempt - 1))
        return pause_s * (1 + self._chance() / 2)
