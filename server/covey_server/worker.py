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
                self._run(batch)
            except Exception as error:
                # A batch that fails takes its own requests with it and nothing else.
                if not isinstance(error, EngineFailed):
                    log.exception("a batch of %d images failed; this is a bug", batch.size)
                    error = EngineFailed("the server failed on this batch; its log says why")
                else:
                    log.error("%s", error)
                for request in batch.fail():
                    request.fail(error)

    def _run(self, batch: Batch) -> None:
        output = Output(batch.model.run(batch.images()))
        answers = batch.complete(output, time.monotonic_ns())
        self._observer.observe_batch(batch, [request for request, _, _ in answers])
        for request, rows, first in answers:
            try:
                request.succeed(rows, first)
            except Exception as error:
                log.exception("an answer could not be written; this is a bug")
                request.fail(error)
