"""Watches batches that run inline: on the thread that takes calls. One that takes far longer than predicted must not
hold up the calls of all models.

Then another thread takes the calls, workers get what waits, and the model's next batches run on workers only.
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

MAX_LATE = 4  # late runs at once; beyond, nothing runs inline
_LOOK_S = 0.01  # so that a late run is noticed after 10 to 20 ms; 100 looks a second cost 0.1 % of a core
_LOOKS_IN_VAIN = 20  # with nothing running; then it sleeps
_MIN_LATE_NS = 10_000_000  # no run is late before
_LATE = 10  # times the longest prediction that runs inline
_PENALTY = 20  # times a late run's time: for so long its model's batches run on workers only
_MAX_PENALTY_NS = 60_000_000_000
_QUIET_NS = 10_000_000_000  # between two log lines


class InlineWatch:
    """A thread that sleeps while nothing runs."""

    def __init__(
        self, batcher: Batcher, running: Mapping[int, Batch], inline_ns: int, on_late: Callable[[int], None]
    ) -> None:
        """`running` is what runs inline now, by thread; `inline_ns` the longest predicted time of such runs; `on_late`
        is told the thread of each late run, once."""
        self.asleep = True  # then whoever adds to `running` has to call `wake` afterwards
        self.late: dict[int, Batch] = {}  # late runs that have not ended, by thread
        self._batcher = batcher
        self._running = running
        self._late_ns = max(_MIN_LATE_NS, _LATE * inline_ns)
        self._on_late = on_late
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()  # whether to go on
        self._next_line_ns = 0
        self._thread = threading.Thread(target=self._watch, name="inline-watch", daemon=True)

    @property
    def is_full(self) -> bool:
        """Whether so many runs are late that nothing more may run inline."""
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
        """To be called when something runs while the watch is asleep."""
        self.asleep = False
        self._signals.put(True)

    def has_ended(self, batch: Batch) -> bool:
        """To be called after each inline run while any is late, on its thread. Returns whether this one was late."""
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
        """Looks until nothing runs, then sleeps. Returns False if the watch is to end. It has a frame of its own, so
        that a sleeping thread keeps no batch alive."""
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
        """Notices late runs; returns whether anything runs."""
        runs = list(self._running.items())
        for thread, batch in runs:
            if now_ns - batch.formed_ns > self._late_ns and thread not in self.late:
                self._notice(thread, batch, now_ns)
        return bool(runs)

    def _notice(self, thread: int, batch: Batch, now_ns: int) -> None:
        cost, late_ns = batch.model.cost, now_ns - batch.formed_ns
        cost.workers_until_ns = now_ns + _MAX_PENALTY_NS
        self.late[thread] = batch
        if self._running.get(thread) is not batch:  # it has just ended, perhaps without seeing that it was late
            self.late.pop(thread, None)
            cost.workers_until_ns = now_ns + _PENALTY * late_ns
            return
        if now_ns >= self._next_line_ns:
            self._next_line_ns = now_ns + _QUIET_NS
            log.warning(
                "a batch of %d was predicted to take %.1f ms and runs for %.0f ms already; others take calls meanwhile",
                batch.size, cost.predict(batch.size) / 1e6, late_ns / 1e6,
            )  # fmt: skip
        self._batcher.wake()  # a worker, for what this thread would have run next
        self._on_late(thread)
