"""Counts in plain numbers, which are given to Prometheus only at a scrape.

Four of prometheus_client's histograms per request would take a tenth of a small network's time (0.75 us an observation,
0.1 us here).
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.samples import Exemplar

from covey_server.batching.batch import DISPATCH_REASONS, DispatchReason
from covey_server.batching.request import Request
from covey_server.calls.call import PROTOCOLS, Protocol
from covey_server.errors import IMAGE_FAULTS, ImageFault
from covey_server.observability.answers import Answers
from covey_server.observability.comparison import ShadowCounts

SECONDS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
_NANOSECONDS = tuple(round(bound * 1e9) for bound in SECONDS)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PIXELS = tuple(side**2 for side in (32, 64, 128, 256, 512, 1024, 2048, 4096))


class Histogram:
    """A histogram: how many values fell up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, Exemplar] = {}  # the last traced value of each bucket, by its place

    def add(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float]) -> None:
        """Counts several values."""
        bounds, counts = self.bounds, self.counts
        for value in values:
            counts[bisect_left(bounds, value)] += 1
        self.total += sum(values)

    def show(self, value: float, trace_id: str) -> None:
        """Names the trace of a value that was counted."""
        self.exemplars[bisect_left(self.bounds, value)] = Exemplar({"trace_id": trace_id}, value, time.time())

    def buckets(self) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
        """The cumulative counts by upper bound, as Prometheus wants them, and their exemplars."""
        return [
            pair if (exemplar := self.exemplars.get(place)) is None else (*pair, exemplar)
            for place, pair in enumerate(cumulative(self.bounds, self.counts))
        ]


def cumulative(bounds: Sequence[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Counts between bounds as Prometheus wants them: how many there are up to each bound."""
    names = [*(f"{float(bound)!r}" for bound in bounds), "+Inf"]
    return list(zip(names, map(float, accumulate(counts)), strict=True))


class ModelTally:
    """The counts of one model version, and their labels."""

    __slots__ = (
        "answers", "batch_size", "captures", "codes", "compute", "cost_error", "decode", "device", "golden_difference",
        "images", "invalid_images", "invalid_outputs", "labels", "last_computed_ns", "late", "load_s",
        "passed_on", "pixels", "queue", "reasons", "request", "served", "shadow",
    )  # fmt: skip

    def __init__(self, name: str, version: str) -> None:
        self.labels = (name, version)
        self.device = ""
        self.served = False
        self.load_s = 0.0
        self.golden_difference = 0.0
        self.cost_error = 0.0  # moving average of |real / predicted run time - 1|
        self.request, self.decode, self.queue, self.compute = (Histogram(SECONDS) for _ in range(4))
        self.batch_size = Histogram(BATCH_SIZES)
        self.pixels = Histogram(PIXELS)  # of encoded images, before they are resized
        self.reasons: dict[DispatchReason, int] = dict.fromkeys(DISPATCH_REASONS, 0)
        # They begin at 0: the rate of a counter that begins with the first failure would leave that out.
        codes = ("OK", "INTERNAL") if name else ()
        self.codes: dict[tuple[str, Protocol], int] = {(code, each): 0 for each in PROTOCOLS for code in codes}
        self.answers: Answers | None = None  # from the first load on
        self.captures: Counter[str] = Counter()
        self.shadow = ShadowCounts()  # of what it ran in another version's shadow
        self.images = 0
        self.last_computed_ns = 0  # by time.monotonic_ns; 0: never
        self.invalid_images: dict[ImageFault, int] = dict.fromkeys(IMAGE_FAULTS, 0)
        self.passed_on = 0  # calls that failed on it as a canary, for the served version to answer
        self.late = 0  # calls whose deadline passed, or could not be met; of a canary, also those that it passed on
        self.invalid_outputs = 0  # images whose probabilities were not finite

    def add_requests(self, requests: Iterable[Request]) -> None:
        """Counts answered requests, by their time stamps."""
        totals, decodes, queues, computes = (
            part.counts for part in (self.request, self.decode, self.queue, self.compute)
        )  # fmt: skip
        total_ns = decode_ns = queue_ns = compute_ns = 0
        computed = self.last_computed_ns
        for request in requests:
            arrived, queued, started = request.arrived_ns, request.queued_ns, request.started_ns
            computed, calls = request.computed_ns, request.calls
            ns = computed - arrived
            totals[bisect_left(_NANOSECONDS, ns)] += calls
            total_ns += ns * calls
            ns = queued - arrived
            decodes[bisect_left(_NANOSECONDS, ns)] += calls
            decode_ns += ns * calls
            ns = started - queued
            queues[bisect_left(_NANOSECONDS, ns)] += calls
            queue_ns += ns * calls
            ns = computed - started
            computes[bisect_left(_NANOSECONDS, ns)] += calls
            compute_ns += ns * calls
        self.last_computed_ns = computed
        self.request.total += total_ns * 1e-9
        self.decode.total += decode_ns * 1e-9
        self.queue.total += queue_ns * 1e-9
        self.compute.total += compute_ns * 1e-9
