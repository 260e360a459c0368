"""Every metric: its name, help, labels and buckets, as one class that takes a registry.

Label values come from closed sets (served models, status codes), never from a caller's text. What every request
touches is counted here once per batch in plain numbers and handed to Prometheus at a scrape: four library
histograms per request would cost a tenth of a small network's whole budget (0.75 us against 0.1 us an observation).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from covey_server.batching.batcher import Batch
from covey_server.batching.request import Request, Runnable

SECONDS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
)  # fmt: skip
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_NS = 1e-9


class _Tally:
    """A histogram in plain numbers: how many values fell up to each bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, values: Iterable[float]) -> None:
        bounds, counts, total = self.bounds, self.counts, 0.0
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            total += value
        self.total += total

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        names = [*(f"{float(bound)!r}" for bound in self.bounds), "+Inf"]
        passed, cumulative = 0, []
        for name, count in zip(names, self.counts, strict=True):
            passed += count
            cumulative.append((name, float(passed)))
        return cumulative


class ModelTally:
    """The counts of one model version, and the labels they are shown with."""

    __slots__ = (
        "batch_size", "codes", "compute", "decode", "device", "images", "invalid_images", "labels", "queue", "request",
    )  # fmt: skip

    def __init__(self, name: str, version: str, device: str) -> None:
        self.labels = (name, version)
        self.device = device
        self.request, self.decode, self.queue, self.compute = (_Tally(SECONDS) for _ in range(4))
        self.batch_size = _Tally(BATCH_SIZES)
        self.codes: dict[str, int] = {}
        self.images = 0
        self.invalid_images = 0


class Metrics(Collector):
    """Counts what the server does and answers scrapes. Safe from any thread."""

    def __init__(self, registry: CollectorRegistry, waiting_images: Callable[[], Mapping[Runnable, int]]) -> None:
        """`waiting_images` is asked at each scrape."""
        self._waiting_images = waiting_images
        self._lock = threading.Lock()
        self._models: dict[Runnable, ModelTally] = {}
        self._no_model = ModelTally("", "", "")  # for calls that failed before a model was found
        self._gauges: list[tuple[str, str, Callable[[], float]]] = []
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def add_model(self, model: Runnable, name: str, version: int, device: str) -> None:
        """Shows a model from now on, with zeros."""
        with self._lock:
            self._models[model] = ModelTally(name, str(version), device)

    def show_server(
        self,
        *,
        calls_in_flight: Callable[[], float],
        bytes_in_flight: Callable[[], float],
        models_refused: Callable[[], float],
        device_fallback: Callable[[], float],
    ) -> None:
        """Shows the state of the whole server, asked at each scrape."""
        self._gauges = [
            ("covey_calls_in_flight", "Calls inside the server.", calls_in_flight),
            (
                "covey_bytes_in_flight",
                "Bytes of the calls inside the server, decoded images included.",
                bytes_in_flight,
            ),
            ("covey_models_refused", "Model versions that were found and are not served.", models_refused),
            ("covey_device_fallback", "1 where CUDA was hoped for and the CPU is used.", device_fallback),
        ]

    def observe_batch(self, batch: Batch, answered: list[Request]) -> None:
        """Counts a batch that ran, and the requests that it answers."""
        with self._lock:
            tally = self._models[batch.model]
            tally.batch_size.add((batch.size,))
            tally.images += batch.size
            tally.codes["OK"] = tally.codes.get("OK", 0) + len(answered)
            tally.request.add([(request.computed_ns - request.arrived_ns) * _NS for request in answered])
            tally.decode.add([(request.queued_ns - request.arrived_ns) * _NS for request in answered])
            tally.queue.add([(request.started_ns - request.queued_ns) * _NS for request in answered])
            tally.compute.add([(request.computed_ns - request.started_ns) * _NS for request in answered])

    def count_answer(self, model: Runnable | None, code: str) -> None:
        """Counts a call that was answered without a batch: an error, or nothing but images that cannot be read.
        `model` is None where the call failed before one was found."""
        with self._lock:
            codes = (self._models[model] if model is not None else self._no_model).codes
            codes[code] = codes.get(code, 0) + 1

    def count_invalid_images(self, model: Runnable, count: int) -> None:
        """Counts encoded images that could not be decoded."""
        with self._lock:
            self._models[model].invalid_images += count

    def collect(self) -> Iterable[Metric]:
        """For Prometheus."""
        model = ("model", "version")
        requests = CounterMetricFamily("covey_requests", "Calls answered, by status code.", labels=(*model, "code"))
        images = CounterMetricFamily("covey_images", "Images computed.", labels=model)
        invalid = CounterMetricFamily("covey_invalid_images", "Encoded images that could not be decoded.", labels=model)
        served = GaugeMetricFamily("covey_model_served", "1 for each model that is served.", labels=(*model, "device"))
        waiting = GaugeMetricFamily("covey_waiting_images", "Images that wait for a worker.", labels=model)
        histograms = {
            "request": _histogram("covey_request_seconds", "From a request's arrival to its probabilities."),
            "decode": _histogram("covey_decode_seconds", "From a request's arrival until its images are queued."),
            "queue": _histogram("covey_queue_seconds", "Waiting for a worker."),
            "compute": _histogram("covey_compute_seconds", "From leaving the queue to the probabilities."),
            "batch_size": _histogram("covey_batch_size", "Images in a batch."),
        }
        waiting_images = self._waiting_images()
        with self._lock:
            for tally in (self._no_model, *self._models.values()):
                for code, count in tally.codes.items():
                    requests.add_metric((*tally.labels, code), count)
            for key, tally in self._models.items():
                images.add_metric(tally.labels, tally.images)
                invalid.add_metric(tally.labels, tally.invalid_images)
                served.add_metric((*tally.labels, tally.device), 1)
                waiting.add_metric(tally.labels, waiting_images.get(key, 0))
                for name, family in histograms.items():
                    part: _Tally = getattr(tally, name)
                    family.add_metric(tally.labels, part.buckets(), part.total)
        yield from (requests, images, invalid, served, waiting, *histograms.values())
        for name, text, value in self._gauges:
            yield GaugeMetricFamily(name, text, value=value())


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=("model", "version"))
