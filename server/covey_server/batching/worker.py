"""Runs batches and answers the requests in them: on worker threads or, where that is quicker, inline on the thread that
brought the requests.

Also watches for runs that do not end: their callers get an error after `timeout_s`, whatever the engine does. What
happens after a failed run is decided in `batching/failures`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.failures import Failures
from covey_server.batching.inline_watch import InlineWatch
from covey_server.batching.output import Output
from covey_server.batching.request import Group, Request
from covey_server.errors import EngineFailed

log = logging.getLogger(__name__)


class BatchObserver(Protocol):
    """Counts batches (the metrics do, which this package does not import). Each is noted before its answers leave, so
    that no caller sees metrics without its call, and counted afterwards, so that no caller waits for that."""

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None: ...
    def count_noted(self) -> None: ...


class Workers:
    """A fixed number of threads that take batches from one batcher. They end when it is closed and empty."""

    def __init__(
        self,
        batcher: Batcher,
        count: int,
        observer: BatchObserver,
        *,
        reserves: int = 0,
        inline_us: int = 0,
        timeout_s: float = 30.0,
        on_stuck: Callable[[bool], None] = lambda stuck: None,
        on_held_up: Callable[[int], None] = lambda thread: None,
    ) -> None:
        """`reserves` more threads take only batches that are worth a core which others need too. Batches of at most
        `inline_us`, as predicted, may run inline; `on_held_up` is told the thread (threading.get_ident) if one takes
        far longer. `on_stuck` is told when a batch runs for longer than `timeout_s`, and when none does any more.
        """
        self.stuck = 0  # batches that were given up and still run
        self._batcher = batcher
        self._observer = observer
        self._timeout_s = timeout_s
        self._on_stuck = on_stuck
        self._inline_ns = inline_us * 1000
        self._failures = Failures(batcher)
        self._running: dict[int, Batch] = {}  # by worker's thread
        self._inline: dict[int, Batch] = {}  # by the thread that brought its requests
        self._inline_watch = InlineWatch(batcher, self._inline, self._inline_ns, on_held_up)
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._watch_runs, name="engine-watch", daemon=True)
        self._threads = [
            threading.Thread(target=self._work, args=(number >= count,), name=f"worker-{number}", daemon=True)
            for number in range(count + reserves)
        ]

    def start(self) -> None:
        """Begins to work."""
        for thread in (*self._threads, self._watch):
            thread.start()
        self._inline_watch.start()

    def join(self, timeout_s: float) -> bool:
        """Waits for the threads to end. Returns False if a batch is still running, on one of them or inline."""
        give_up = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._ended.set()
        if self._watch.is_alive():
            self._watch.join()
        self._inline_watch.stop()
        return not any(thread.is_alive() for thread in self._threads) and not self._running and not self._inline

    def submit(self, request: Request, *, inline: bool = True) -> None:
        """Queues a request that came alone and starts it. Raises as `Batcher.put`."""
        self._batcher.put(request)
        self.dispatch(inline)

    def dispatch(self, inline: bool = True) -> None:
        """Starts what was queued; with `inline` the calling thread runs short batches itself."""
        watch = self._inline_watch
        left_ns: float = self._inline_ns if inline and not watch.is_full else 0
        try:
            while (batch := self._batcher.take_short(left_ns)) is not None:
                left_ns -= batch.model.cost.predict(batch.size)
                self._run(batch, self._inline)
                if watch.late and watch.has_ended(batch):
                    left_ns = 0  # others have taken over
        except Exception:
            log.exception("requests were not dispatched; this is a bug")

    def run_at_once(self, group: Group) -> bool:
        """Runs a group on the calling thread, if the batcher lets it: queueing it would take a tenth of a lone
        request's time. Returns False, and leaves it alone, if not."""
        watch = self._inline_watch
        batch = None if watch.is_full else self._batcher.take_at_once(group, self._inline_ns)
        if batch is None:
            return False
        self._run(batch, self._inline)
        if watch.late:
            watch.has_ended(batch)
        return True

    def _work(self, reserve: bool) -> None:
        while self._run_next(reserve):
            pass

    def _run_next(self, reserve: bool) -> bool:
        # It has a frame of its own, so that a waiting thread keeps no batch and no model alive.
        batch = self._batcher.take(reserve)
        if batch is None:
            return False
        try:
            self._run(batch, self._running)
        finally:
            self._batcher.finish(batch)
        return True

    def _run(self, batch: Batch, running: dict[int, Batch]) -> None:
        """The batch is in `running` until all is answered: writing large answers takes long, too."""
        thread = threading.get_ident()
        running[thread] = batch
        if running is self._inline and self._inline_watch.asleep:
            self._inline_watch.wake()
        try:
            self._compute_and_answer(batch, on_worker=running is self._running)
        finally:
            del running[thread]

    def _compute_and_answer(self, batch: Batch, *, on_worker: bool) -> None:
        began_ns, claimed = time.monotonic_ns(), False
        try:
            if batch.model.embedding_size and batch.wants_embedding:
                output = Output(*batch.model.run_with_embedding(batch.images()))
            else:
                output = Output(batch.model.run(batch.images()))
            computed_ns = time.monotonic_ns()
            claimed = batch.claim()
            if not claimed:
                return  # given up meanwhile
            if output.finite is not None:
                batch.expand()
            answers = batch.complete(output, computed_ns)
            if output.finite is not None:
                batch.not_finite = int((~output.finite).sum())
                self._failures.log_not_finite(batch)
            all_can = output.finite is None and output.embedding is None
            answered = [each for each, first in answers if all_can or each.can_answer(output, first)]
            self._observer.note_batch(batch, output, answered)
        except Exception as error:  # noqa: BLE001 - a batch that fails takes its own requests with it, nothing else
            if claimed or batch.claim():
                self._fail(batch, error, on_worker)
            return
        for request, first in answers:
            try:
                request.answer(output, first)
            except Exception:
                log.exception("an answer was not given; this is a bug")
        self._observer.count_noted()
        answered_ns = time.monotonic_ns()
        batch.model.cost.observe(batch.size, answered_ns - began_ns)
        self._batcher.learn(batch, answered_ns)
        if batch.search is not None or self._failures.any_broken:
            self._failures.succeeded(batch)

    def _fail(self, batch: Batch, error: Exception, on_worker: bool) -> None:
        batch.expand()
        failed, shown = self._failures.failed(batch, error, on_worker=on_worker)
        for request in failed:
            request.fail(shown)

    def _watch_runs(self) -> None:
        while not self._ended.wait(self._timeout_s / 4):
            oldest_ns = time.monotonic_ns() - int(self._timeout_s * 1e9)
            self._look(oldest_ns)

    def _look(self, oldest_ns: int) -> None:
        runs = [*list(self._running.values()), *list(self._inline.values())]
        late = [batch for batch in runs if batch.formed_ns < oldest_ns]
        for batch in late:
            if batch.claim():
                self._give_up(batch)
        if bool(late) != bool(self.stuck):
            self._on_stuck(bool(late))
        self.stuck = len(late)

    def _give_up(self, batch: Batch) -> None:
        error = EngineFailed(
            f"the model has not answered a batch of {batch.size} images within {self._timeout_s:g} s; its server "
            f"reports itself as not ready"
        )
        log.error("%s (%d thread(s) run batches now)", error, len(self._running) + len(self._inline))
        for request in batch.fail():
            request.fail(error)
