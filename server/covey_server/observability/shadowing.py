"""Runs a share of the images again, on another version of their model, and compares the answers: what a new version
would have said, before any caller gets it.

One thread of the lowest priority does it. What it cannot keep up with is skipped and counted: callers never wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.batch import Batch
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.comparison import Comparison, compare
from covey_server.observability.metrics import Metrics
from covey_server.system.threads import lower_priority

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20  # of images
MAX_WAITING = 256  # batches


class _Work(NamedTuple):
    """The version to compare, images `[N, H, W, C] uint8`, and what was answered for them, `[N, K] float32`."""

    shadow: ServedModel
    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


class Shadowing:
    """Observes batches in front of the metrics. `start`, then `stop`."""

    def __init__(self, metrics: Metrics, catalog: Callable[[], Catalog], share: float) -> None:
        """`share`: of the batches of models that have a shadow, 0 to 1."""
        self._metrics = metrics
        self._catalog = catalog
        self._share = share
        self._waiting: deque[_Work] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begins to compare."""
        self._thread.start()

    def close(self) -> None:
        """Begins no more; `join` tells whether the last one has ended."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify()

    def join(self, timeout_s: float) -> bool:
        """Waits for the thread, after `close`. False if a model still runs after that time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def count_noted(self) -> None:
        """As the metrics do."""
        self._metrics.count_noted()

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        """As the metrics do; keeps the images of some batches to run them again."""
        self._metrics.note_batch(batch, output, answered)
        catalog = self._catalog()
        if not catalog.shadows or output.finite is not None:
            return
        if self._share < 1 and random.random() >= self._share:
            return
        shadow = catalog.shadow_of(batch.model)
        if shadow is not None and catalog.is_default_version(batch.model):
            self._keep(batch, output, shadow)

    def _keep(self, batch: Batch, output: Output, shadow: ServedModel) -> None:
        served = batch.model
        if (shadow.input_shape, shadow.labels) != (served.input_shape, served.labels):
            self._metrics.count_shadow(shadow, Comparison({"other_contract": batch.size}))
            return
        size_bytes = batch.size * served.image_bytes
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size_bytes > MAX_WAITING_BYTES:
            self._metrics.count_shadow(shadow, Comparison({"skipped": batch.size}))
            return
        work = _Work(shadow, batch.images(), output.probabilities)
        with self._changed:
            if not self._is_stopped:
                self._waiting.append(work)
                self._waiting_bytes += size_bytes
                self._changed.notify()

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                while not self._waiting and not self._is_stopped:
                    self._changed.wait()
                if self._is_stopped:
                    return
                work = self._waiting.popleft()
                self._waiting_bytes -= work.images.nbytes
            try:
                began_s = time.perf_counter()
                found = work.shadow.run(work.images)
                result = compare(work.probabilities, found, time.perf_counter() - began_s)
            except Exception as error:  # noqa: BLE001 - a version that fails is what this is to find out
                log.warning(
                    "model %s: its shadow, version %d, failed: %s", work.shadow.name, work.shadow.version, error
                )
                result = Comparison({"failed": len(work.images)})
            self._metrics.count_shadow(work.shadow, result)
            del work  # it holds a model, which may have been unloaded
