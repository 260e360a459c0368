"""What the operator has watching calls and batches, beside the metrics: records of calls, shadows, canaries, captures.
Starts and stops their threads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covey_server.images import image_formats
from covey_server.observability.canaries import Canaries
from covey_server.observability.canary_metrics import CanaryMetrics
from covey_server.observability.canary_rules import Rules
from covey_server.observability.capturing import Capturing
from covey_server.observability.gate import MAX_LOSS, Gate
from covey_server.observability.recording import open_recording
from covey_server.observability.shadowing import Shadowing
from covey_server.observability.trial import Telling

if TYPE_CHECKING:
    from covey_server.batching.worker import BatchObserver
    from covey_server.config import Config
    from covey_server.models.repository import Repository
    from covey_server.observability.metrics import Metrics
    from covey_server.system.later import Later


class Observers:
    """`recording` is for calls, `batches` for batches: it passes them on to the metrics. `start`, then `close` and
    `join`."""

    def __init__(
        self, config: Config, metrics: Metrics, repository: Callable[[], Repository],
        others: Telling | None = None,
    ) -> None:  # fmt: skip
        """`repository` is asked only once batches come; `others` as of Canaries. Raises InvalidConfiguration."""
        self.recording = open_recording(config.access_log, config.access_log_rate, os.environ, metrics.show_trace)
        self.canaries = _open_canaries(config, metrics, repository, others)
        self.shadowing = Shadowing(metrics, lambda: repository().catalog, config.shadow_share, self.canaries)
        self.capturing = Capturing(self.shadowing, metrics, config) if config.capture else None
        if self.capturing is not None:
            self.shadowing.keep_differing = self.capturing.keep_differing
        self.batches: BatchObserver = self.capturing or self.shadowing
        self._threads: list[Later[Any]] = [self.shadowing.work]
        if self.capturing is not None:
            self._threads.append(self.capturing.work)

    def start(self) -> None:
        """Begins to watch."""
        for each in self._threads:
            each.start()
        self.canaries.start()
        if self.recording is not None:
            self.recording.start()

    def close(self) -> None:
        """Drops shadow runs and captures that wait, and lets canaries be judged no more."""
        self.canaries.stop(0)
        for each in self._threads:
            each.close()

    def join(self, timeout_s: float) -> bool:
        """Writes the records that there are, and waits for what has begun. False if a model still runs in the shadow
        after that time."""
        give_up = time.monotonic() + timeout_s
        if self.recording is not None:
            self.recording.stop()
        judged = self.canaries.stop(max(0.0, give_up - time.monotonic()))
        return all([judged, *(each.join(max(0.0, give_up - time.monotonic())) for each in self._threads)])


def _open_canaries(
    config: Config, metrics: Metrics, repository: Callable[[], Repository], others: Telling | None
) -> Canaries:
    """Raises InvalidConfiguration."""
    gate = None
    if config.canary_gate:
        gate = Gate(Path(config.canary_gate), config.max_image_pixels, image_formats.chosen(config.image_formats))
    rules = Rules(config.canary_agreement, config.canary_slowdown, config.canary_images, config.canary_window_s)
    max_loss = MAX_LOSS if config.accuracy_limit is None else config.accuracy_limit
    canaries = Canaries(metrics, repository, rules, config.canary_share, gate, max_loss, others=others)
    metrics.registry.register(CanaryMetrics(canaries))
    return canaries
