"""Runs a share of the images again, on another version of their model, and compares the answers: what a new version
would have said, before any caller gets it.

One thread of the lowest priority does it. What it cannot keep up with is skipped and counted: callers never wait.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.batch import Batch
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import Catalog
from covey_server.observability.comparison import Comparison, Result, compare
from covey_server.observability.metrics import Metrics
from covey_server.system.later import Later

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20  # of images
MAX_WAITING = 256  # batches


class _Work(NamedTuple):
    """The version to compare, images `[N, H, W, C] uint8`, and what was answered for them, `[N, K] float32`."""

    shadow: ServedModel
    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


class Shadowing:
    """Observes batches before the metrics do. `start`, then `close` and `join`."""

    def __init__(self, metrics: Metrics, catalog: Callable[[], Catalog], share: float) -> None:
        """`share`: of the batches of models that have a shadow, 0 to 1."""
        self._metrics = metrics
        self._catalog = catalog
        self._share = share
        self.work: Later[_Work] = Later("shadow", self._compare, MAX_WAITING, MAX_WAITING_BYTES)

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
        result: Result | None = None
        size_bytes = batch.size * served.image_bytes
        if (shadow.input_shape, shadow.labels) != (served.input_shape, served.labels):
            result = "other_contract"
        elif not self.work.has_room(size_bytes) or not self.work.put(
            _Work(shadow, batch.images(), output.probabilities), size_bytes
        ):
            result = "skipped"
        if result is not None:
            self._metrics.count_shadow(shadow, Comparison({result: batch.size}))

    def _compare(self, work: _Work) -> None:
        shadow = work.shadow
        try:
            began_s = time.perf_counter()
            found = shadow.run(work.images)
            result = compare(work.probabilities, found, time.perf_counter() - began_s)
        except Exception as error:  # noqa: BLE001 - a version that fails is what this is to find out
            log.warning("model %s: the shadow, version %d, failed: %s", shadow.name, shadow.version, error)
            result = Comparison({"failed": len(work.images)})
        self._metrics.count_shadow(shadow, result)
