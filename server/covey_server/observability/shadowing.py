"""Runs images again, on another version of their model, and compares the answers: a share of the served ones on the
version in the shadow, which shows what a new version would have said before any caller gets it; and all those of a
canary on the served version.

One thread of the lowest priority does it. What it cannot keep up with is skipped and counted: callers never wait.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_server.batching.batch import Batch
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.inference.served_model import ServedModel
from covey_server.models.canary import Canary
from covey_server.models.catalog import Catalog
from covey_server.observability.canaries import Canaries
from covey_server.observability.comparison import Comparison, Result, compare
from covey_server.observability.metrics import Metrics
from covey_server.system.later import Later

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 << 20  # of images
MAX_WAITING = 256  # batches


class _Work(NamedTuple):
    """The version that runs again, images `[N, H, W, C] uint8`, and what was answered for them, `[N, K] float32`.
    `canary`: it was this one that answered, as the model `answered_by`. `captured`: places of images that are kept."""

    other: ServedModel
    canary: Canary | None
    answered_by: ServedModel
    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    captured: Container[int]


KeepDiffering = Callable[[ServedModel, NDArray[np.uint8], NDArray[np.float32], Sequence[int]], None]


class Shadowing:
    """Observes batches before the metrics do. `start`, then `close` and `join`."""

    def __init__(self, metrics: Metrics, catalog: Callable[[], Catalog], share: float, canaries: Canaries) -> None:
        """`share`: of the batches of models that have a shadow, 0 to 1. `canaries` are told how their answers compare
        with those of the served version."""
        self._metrics = metrics
        self._catalog = catalog
        self._share = share
        self._canaries = canaries
        # Called where two versions give images different classes: who answered, all images, the answers, which ones.
        self.keep_differing: KeepDiffering | None = None
        self._is_other_first = False
        self.work: Later[_Work] = Later("shadow", self._compare, MAX_WAITING, MAX_WAITING_BYTES)

    def count_noted(self) -> None:
        """As the metrics do."""
        self._metrics.count_noted()

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        """As the metrics do; keeps the images of some batches to run them again."""
        self._metrics.note_batch(batch, output, answered)
        catalog = self._catalog()
        if not (catalog.shadows or catalog.canaries) or output.finite is not None:
            return
        served = batch.model
        canary = catalog.canaries.get(served.name)
        if canary is not None and canary.version == served.version:
            default = catalog.default_version(served.name)
            # What came to a model's original input is not compared.
            if default is not None and not canary.outcome and served.answers_probabilities:
                self._keep(batch, output, default, canary)
            return
        if self._share < 1 and random.random() >= self._share:
            return
        shadow = catalog.shadow_of(served)
        if shadow is not None and catalog.is_default_version(served):
            self._keep(batch, output, shadow, None)

    def _keep(self, batch: Batch, output: Output, other: ServedModel, canary: Canary | None) -> None:
        served = batch.model
        result: Result | None = None
        size_bytes = batch.size * served.image_bytes
        if (other.input_shape, other.labels) != (served.input_shape, served.labels):
            result = "other_contract"
        elif not self.work.has_room(size_bytes) or not self.work.put(
            _Work(other, canary, served, batch.images(), output.probabilities, batch.captured), size_bytes
        ):
            result = "skipped"
        if result is not None:
            self._count(other, canary, Comparison({result: batch.size}), None)

    def _compare(self, work: _Work) -> None:
        other, canary, canary_s = work.other, work.canary, None
        clock = time.perf_counter if canary is None else _clock(other)
        is_timed = canary is not None and self._canaries.wants_times(canary)
        self._is_other_first = not self._is_other_first  # whoever is first brings code and images into the caches
        try:
            if is_timed and not self._is_other_first:
                canary_s, _ = _run(work.answered_by, work.images, clock)
            other_s, found = _run(other, work.images, clock)
            if is_timed and self._is_other_first:
                canary_s, _ = _run(work.answered_by, work.images, clock)
            result = compare(work.probabilities, found, other_s)
        except Exception as error:  # noqa: BLE001 - a version that fails is what this is to find out
            log.warning(
                "model %s: images that ran again on version %d, answered by version %d, failed: %s",
                other.name, other.version, work.answered_by.version, error,
            )  # fmt: skip
            result, canary_s = Comparison({"failed": len(work.images)}), None
        self._count(other, canary, result, canary_s)
        if self.keep_differing is not None and result.places is not None:
            places = [place for place in result.places.tolist() if place not in work.captured]
            self.keep_differing(work.answered_by, work.images, work.probabilities, places)

    def _count(self, other: ServedModel, canary: Canary | None, found: Comparison, canary_s: float | None) -> None:
        if canary is None:
            self._metrics.count_shadow(other, found)
        else:
            self._canaries.count(canary, found, canary_s)


def _clock(model: ServedModel) -> Callable[[], float]:
    """What two versions are timed by. On CPUs it is this thread's own time, which others, who have priority, do not
    lengthen."""
    return time.perf_counter if model.engine.device.is_cuda else time.thread_time


def _run(
    model: ServedModel, images: NDArray[np.uint8], clock: Callable[[], float]
) -> tuple[float, NDArray[np.float32]]:
    """How long a run took, and its probabilities."""
    began_s = clock()
    found = model.run(images)
    return clock() - began_s, found
