"""Watches the batches that threads which bring requests run themselves. One that takes far longer than was predicted
must not hold up what such a thread is there for: taking calls, of all models.

Then workers get what waits, somebody else is told to take calls, and the model's next batches are for workers.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher

log = logging.getLogger(__name__)

MAX_LATE = 4  # runs at once that are late; with as many, threads that bring requests run nothing
_LOOK_S = 0.01  # between two looks: a run is noticed after 10 to 20 ms. 100 looks a second cost 0.1 % of a core
_LOOKS_IN_VAIN = 20  # then it sleeps until something runs
_MIN_LATE_NS = 10_000_000
_LATE = 10  # times as long as a run may be predicted to take: that is late, and no run before the time above
_PENALTY = 20  # times as long as a late run took its model's batches are for workers
_MAX_PENALTY_NS = 60_000_000_000
_QUIET_NS = 10_000_000_000  # between two lines of the log


class InlineWatch:
    """One thread, asleep while nothing runs."""

    def __init__(
        self, batcher: Batcher, running: Mapping[int, Batch], inline_ns: int, on_late: Callable[[int], None]
    ) -> None:
        """`running` is what runs now, by thread; `inline_ns` the longest that is predicted of any; `on_late` is told
        the thread of a run that is late, once for each."""
        self.asleep = True  # whoever begins to run something then has to `wake`, after it stands in `running`
        self.late: dict[int, Batch] = {}  # runs that were noticed and have not ended, by thread
        self._batcher = batcher
        self._running = running
        self._late_ns = max(_MIN_LATE_NS, _LATE * inline_ns)
        self._on_late = on_late
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()  # whether to go on
        self._next_line_ns = 0
        self._thread = threading.Thread(target=self._watch, name="inline-watch", daemon=True)

    @property
    def is_full(self) -> bool:
        """Whether so many runs are late that no other thread may be risked."""
        return len(self.late) >= MAX_LATE

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread."""
        self._signals.put(False)
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Something runs."""
        self.asleep = False
        self._signals.put(True)

    def has_ended(self, batch: Batch) -> bool:
        """Has to follow a run while any is late, on its thread; whether that one was."""
        if self.late.pop(threading.get_ident(), None) is None:
            return False
        now_ns = time.monotonic_ns()
        penalty_ns = min(_PENALTY * (now_ns - batch.formed_ns), _MAX_PENALTY_NS)
        batch.model.cost.workers_until_ns = now_ns + penalty_ns
        return True

    def _watch(self) -> None:
        while self._wait():
            pass

    def _wait(self) -> bool:
        """From the first look to the last one before it sleeps; False where it is to end. A frame of its own: no batch
        outlives it."""
        in_vain = 0
        while in_vain < _LOOKS_IN_VAIN:
            with contextlib.suppress(queue.Empty):
                if not self._signals.get(timeout=_LOOK_S):
                    return False
            in_vain = 0 if self._look(time.monotonic_ns()) else in_vain + 1
        self.asleep = True
        if not self._running and not self._signals.get():
            return False
        self.asleep = False
        return True

    def _look(self, now_ns: int) -> bool:
        """Whether anything runs."""
        runs = list(self._running.items())
        for thread, batch in runs:
            if now_ns - batch.formed_ns > self._late_ns and thread not in self.late:
                self._notice(thread, batch, now_ns)
        return bool(runs)

    def _notice(self, thread: int, batch: Batch, now_ns: int) -> None:
        cost, late_ns = batch.model.cost, now_ns - batch.formed_ns
        cost.workers_until_ns = now_ns + _MAX_PENALTY_NS
        self.late[thread] = batch
        if self._running.get(thread) is not batch:  # it has just ended, and may not have seen that it was late
            self.late.pop(thread, None)
            cost.workers_until_ns = now_ns + _PENALTY * late_ns
            return
        if now_ns >= self._next_line_ns:
            self._next_line_ns = now_ns + _QUIET_NS
            log.warning(
                "a batch of %d was predicted to take %.1f ms and runs for %.0f ms already; others take calls meanwhile",
                batch.size, cost.predict(batch.size) / 1e6, late_ns / 1e6,
            )  # fmt: skip
        self._batcher.wake()  # for what the thread would have run next
        self._on_late(thread)
