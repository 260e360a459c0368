"""The loop that every worker thread runs: take a batch, run it, answer each request in it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from covey_server.batching.batcher import Batch, Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.errors import EngineFailed

log = logging.getLogger(__name__)


class BatchObserver(Protocol):
    """Who counts the batches; called before the answers leave, so that no caller is ahead of the metrics."""

    def observe_batch(self, batch: Batch, answered: list[Request]) -> None: ...


class Workers:
    """A fixed number of threads on one batcher. They end when the batcher is closed and empty."""

    def __init__(self, batcher: Batcher, count: int, observer: BatchObserver) -> None:
        self._batcher = batcher
        self._observer = observer
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True) for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Waits for the threads to end; False where one is still running a batch."""
        give_up = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (batch := self._batcher.take()) is not None:
            try:
                answers = batch.complete(Output(batch.model.run(batch.images())), time.monotonic_ns())
                self._observer.observe_batch(batch, [request for request, _, _ in answers])
            except Exception as error:  # noqa: BLE001 - a batch that fails takes its own requests with it, nothing else
                shown = _shown(error, batch.size)
                for request in batch.fail():
                    request.fail(shown)
                continue
            for request, rows, first in answers:
                try:
                    request.succeed(rows, first)
                except Exception:
                    log.exception("an answer was not given; this is a bug")


def _shown(error: Exception, size: int) -> EngineFailed:
    """What the callers of a failed batch are told; the log is told all."""
    if isinstance(error, EngineFailed):
        log.error("%s", error)
        return error
    log.error("a batch of %d images failed; this is a bug", size, exc_info=error)
    return EngineFailed("the server failed on this batch; its log says why")
