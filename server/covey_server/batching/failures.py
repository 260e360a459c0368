"""Decides what happens after a failed run, so that exactly the requests that caused it fail.

A batch of several requests runs again in two halves, a half that fails in two quarters, and so on, on workers, until
each request that fails does so alone. With one bad request of 64 that is twelve more runs, of 126 images. The callers
of bad requests then run in batches of their own for a while, so that they cost others this only once.

If the engine fails on everything, nothing runs again. An empty image, which it could compute at load, tells.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakSet

import numpy as np

from covey_server.batching import reruns
from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.request import Request
from covey_server.batching.reruns import Search
from covey_server.errors import EngineFailed

if TYPE_CHECKING:  # it brings onnxruntime, which nothing here needs
    from covey_server.inference.served_model import ServedModel

log = logging.getLogger(__name__)

_TEST_EVERY = 4  # failed runs of a search; then the engine is tested with an empty image
_HIDDEN = "the server failed on this batch; its log says why"
_QUIET_S = 10.0  # between two log lines; failures in between are counted


class Failures:
    """Decides for the workers. Safe from any thread."""

    def __init__(self, batcher: Batcher, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.any_broken = False
        self._broken: WeakSet[ServedModel] = WeakSet()  # models whose engine fails even on an empty image
        self._batcher = batcher
        self._clock_s = clock_s
        self._next_line_s = 0.0
        self._unsaid = 0  # failed runs since the last line

    def failed(self, batch: Batch, error: Exception, *, on_worker: bool) -> tuple[list[Request], EngineFailed]:
        """The requests of a failed batch that have to be answered now, and with what; the others run again."""
        self._log_failure(batch, error)
        shown = error if isinstance(error, EngineFailed) else EngineFailed(_HIDDEN)
        search = batch.search or Search()
        search.failures += 1
        if self.any_broken and batch.model in self._broken:
            search.given_up = str(shown)
        elif on_worker and search.failures % _TEST_EVERY == 0:
            self._test_engine(batch.model, search, str(shown))
        if len(batch.parts) == 1 and not search.given_up:
            self._note_failed_alone(batch, search)
        # Once the batcher is closed, there may be no worker left to run it again.
        if len(batch.parts) == 1 or search.given_up or (self._batcher.closed and not on_worker):
            return batch.fail(), shown
        self._batcher.run_again(batch.model, reruns.halves(batch, search))
        return [], shown

    def succeeded(self, batch: Batch) -> None:
        """To be called after each good run of a batch that ran again and, while `any_broken`, of any batch."""
        if self.any_broken:
            self._broken.discard(batch.model)
            self.any_broken = bool(self._broken)
        if batch.search is not None:
            self._note_sound(batch.search)

    def log_not_finite(self, batch: Batch) -> None:
        """Logs that some of a batch's probabilities are not finite, which is no failure of the run."""
        if (more := self._start_line()) is not None:
            log.error(
                "the model's answers for %d of %d images are not finite (NaN or infinity)%s; check the model",
                batch.not_finite, batch.size, more,
            )  # fmt: skip

    def _note_failed_alone(self, batch: Batch, search: Search) -> None:
        part = batch.parts[0]
        request = part.request
        # One that was given up has been told of an earlier failure; another version may answer its call by now.
        if request.is_on_trial or (not part.whole and request.abandoned):
            return
        caller = request.caller
        if search.is_sound:
            self._batcher.suspect([caller])
        elif batch.search is not None:
            search.failed_alone.append(caller)
        else:  # it was alone from the start: nobody else was affected
            self._batcher.suspect([caller], known=True)

    def _note_sound(self, search: Search) -> None:
        """The engine works, so requests that failed alone are bad."""
        search.is_sound = True
        search.failures = 0
        if search.failed_alone:
            self._batcher.suspect(search.failed_alone)
            search.failed_alone = []

    def _test_engine(self, model: ServedModel, search: Search, shown: str) -> None:
        try:
            model.run(np.zeros((1, *model.input_shape), np.uint8))
        except Exception:  # noqa: BLE001 - whatever it is, the engine is not sound
            self._broken.add(model)
            self.any_broken = True
            search.given_up = shown
            log.error("the engine fails even on an empty image: batches that fail do not run again until one succeeds")
        else:
            self._note_sound(search)

    def _log_failure(self, batch: Batch, error: Exception) -> None:
        if (more := self._start_line()) is None:
            return
        if isinstance(error, EngineFailed):
            log.error("%s%s", error, more)
        else:
            log.error("a batch of %d images failed%s; this is a bug", batch.size, more, exc_info=error)

    def _start_line(self) -> str | None:
        """What to add to a log line; None if it is too early for another line."""
        self._unsaid += 1
        now_s = self._clock_s()
        if now_s < self._next_line_s:
            return None
        self._next_line_s = now_s + _QUIET_S
        more = f" ({self._unsaid:,} runs failed since the last such line)" if self._unsaid > 1 else ""
        self._unsaid = 0
        return more
