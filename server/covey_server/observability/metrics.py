"""All metrics: their names, help texts, labels and buckets. docs/metrics.md lists them.

Label values come from closed sets (models in the folder, status codes, reasons, names in the limits file), never from a
caller's text.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from covey_server.batching.batch import Batch
from covey_server.batching.output import Output
from covey_server.batching.request import Request
from covey_server.calls.call import HTTP_PEER, protocol_of
from covey_server.calls.record import Record
from covey_server.errors import REFUSAL_REASONS, Overloaded, RefusalReason, RequestError, UndecodableImage
from covey_server.inference.served_model import ServedModel
from covey_server.models.catalog import RefusedVersion
from covey_server.observability import model_metrics, server_metrics
from covey_server.observability.answers import Answers
from covey_server.observability.comparison import Comparison
from covey_server.observability.server_figures import ServerFigures
from covey_server.observability.tally import ModelTally

T = TypeVar("T")

_RETIRED_SHOWN = 2  # unloaded versions of each model that are still shown; more would pile up over reloads


class Metrics(Collector):
    """Counts what the server does and answers scrapes. Safe from any thread. Keeps no model alive."""

    def __init__(self, registry: CollectorRegistry, drift_window: int = 0) -> None:
        """`drift_window`: how many images drift looks back at; 0: it is not told."""
        self.registry = registry
        self._drift_window = drift_window
        self._lock = threading.Lock()
        self._by_model: WeakKeyDictionary[ServedModel, ModelTally] = WeakKeyDictionary()
        self._tallies: dict[tuple[str, str], ModelTally] = {}
        self._no_model = ModelTally("", "")  # of calls that failed before a model was found
        self._loads: dict[tuple[str, str], int] = {}  # by model and result
        self._noted: deque[tuple[Batch, NDArray[np.float32], Sequence[Request]]] = deque()
        self._refused = dict.fromkeys(REFUSAL_REASONS, 0)
        self._limited: Counter[tuple[str, RefusalReason]] = Counter()  # calls, by principal's name and its limit
        self._explanations: dict[str, int] = {}  # by status code
        self._figures: Callable[[], ServerFigures] | None = None
        registry.register(self)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def show(self, figures: Callable[[], ServerFigures]) -> None:
        """Shows the whole server's figures from now on; `figures` is called at each scrape."""
        self._figures = figures

    def model_loaded(self, model: ServedModel, load_s: float) -> None:
        """Shows a version from now on. If it was there before, its counts go on."""
        labels = (model.name, str(model.version))
        with self._lock:
            tally = self._tallies.setdefault(labels, ModelTally(*labels))
            tally.device = model.engine.device.name
            tally.load_s = load_s
            tally.golden_difference = model.golden_difference
            tally.served = True
            if tally.answers is not None and tally.answers.labels == model.labels:
                tally.answers.compare_with(model.info.usual_answers)
            else:
                exclusive = model.thresholds is None
                tally.answers = Answers(
                    model.labels, model.info.usual_answers, self._drift_window, is_exclusive=exclusive
                )
            self._by_model[model] = tally
            if model.original is not None:
                self._by_model[model.original] = tally
        self._count_load(model.name, "loaded")

    def model_refused(self, refusal: RefusedVersion) -> None:
        """Counts a refused version."""
        self._count_load(refusal.name, "refused")

    def model_unloaded(self, name: str, version: int) -> None:
        """Shows a version as no longer served; its remaining requests are still counted."""
        with self._lock:
            labels = (name, str(version))
            tally = self._tallies[labels] = self._tallies.pop(labels)  # behind those that were unloaded before
            tally.served = False
        self._count_load(name, "unloaded")

    def model_retired(self, name: str, version: int) -> None:
        """Forgets all unloaded versions of a model but the last few."""
        with self._lock:
            gone = [labels for labels, tally in self._tallies.items() if labels[0] == name and not tally.served]
            for labels in gone[:-_RETIRED_SHOWN]:
                del self._tallies[labels]

    def note_batch(self, batch: Batch, output: Output, answered: Sequence[Request]) -> None:
        """Notes a batch before its answers leave, so that no caller sees metrics without its call."""
        rows = output.probabilities
        self._noted.append((batch, rows if output.finite is None else rows[output.finite], answered))

    def count_noted(self) -> None:
        """Counts the noted batches, after their answers have left."""
        with self._lock:
            while self._noted:
                batch, probabilities, answered = self._noted.popleft()
                tally = self._by_model[batch.model]
                answers = tally.answers
                # Unless the version was replaced meanwhile, by one with other labels.
                if answers is not None and batch.model.answers_probabilities and batch.model.labels == answers.labels:
                    answers.add(probabilities)
                tally.batch_size.add(batch.size)
                tally.reasons[batch.reason] += 1
                tally.images += batch.size
                tally.invalid_outputs += batch.not_finite
                tally.cost_error = batch.model.cost.error
                # The fast way brings one entry for many calls: for those, telling protocols apart is free.
                by_http = sum([request.calls for request in answered if request.caller.startswith(HTTP_PEER)])
                tally.codes["OK", "http"] += by_http
                tally.codes["OK", "grpc"] += sum([request.calls for request in answered]) - by_http
                tally.add_requests(answered)

    def count_answer(self, model: ServedModel | None, code: str, peer: str, calls: int = 1) -> None:
        """Counts calls of one protocol that were answered without a batch: with an error, or since none of their images
        can be read. `model` is None if they failed before one was found; `peer` is one of the callers."""
        key = code, protocol_of(peer)
        with self._lock:
            codes = (self._by_model[model] if model is not None else self._no_model).codes
            codes[key] = codes.get(key, 0) + calls

    def count_passed_on(self, canary: ServedModel) -> None:
        """Counts a call that failed on a canary, and that the served version answers instead."""
        with self._lock:
            self._by_model[canary].passed_on += 1

    def count_late(self, model: ServedModel, calls: int = 1) -> None:
        """Counts calls that a version had no time for, whoever answered them."""
        with self._lock:
            self._by_model[model].late += calls

    def count_refusal(self, error: Exception, calls: int = 1) -> None:
        """Counts calls that were refused before they waited; ignores other errors."""
        if isinstance(error, RequestError) and error.refused_for is not None:
            with self._lock:
                self._refused[error.refused_for] += calls
                if isinstance(error, Overloaded) and error.principal:
                    self._limited[error.principal, error.refused_for] += calls

    def count_explanation(self, code: str) -> None:
        """Counts a call of Explain, which is not one of `covey_requests`."""
        with self._lock:
            self._explanations[code] = self._explanations.get(code, 0) + 1

    def show_trace(self, record: Record, trace_id: str) -> None:
        """Names the trace of a request that was computed, as an exemplar of how long requests take."""
        with self._lock:
            tally = self._tallies.get((record.model, str(record.version)))
            if tally is not None and record.computed_ns:
                tally.request.show((record.computed_ns - record.arrived_ns) * 1e-9, trace_id)

    def count_shadow(self, shadow: ServedModel, found: Comparison) -> None:
        """Counts images that a version ran again in the shadow of the served one."""
        with self._lock:
            self._by_model[shadow].shadow.add(found)

    def count_capture(self, model: ServedModel, result: str) -> None:
        """Counts an image that was captured, and why; or `dropped`."""
        with self._lock:
            self._by_model[model].captures[result] += 1

    def count_decoded(
        self, model: ServedModel, pixels: Sequence[int], failures: Sequence[UndecodableImage | None]
    ) -> None:
        """Counts encoded images: how many pixels those had that were decoded, and why others could not be."""
        with self._lock:
            tally = self._by_model[model]
            tally.pixels.add_all(pixels)
            if len(failures) > len(pixels):
                for failure in failures:
                    if failure is not None:
                        tally.invalid_images[failure.reason] += 1

    def tally(self, model: ServedModel) -> ModelTally:
        """A copy of a model's counts of this moment."""
        return self.read(model, copy.deepcopy)

    def read(self, model: ServedModel, look: Callable[[ModelTally], T]) -> T:
        """What `look` finds in a model's counts of this moment; it is to be quick, and to keep nothing of them."""
        self.count_noted()
        with self._lock:
            return look(self._by_model[model])

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client at each scrape."""
        self.count_noted()
        figures = self._figures() if self._figures is not None else None
        with self._lock:
            waits: Counter[int] = Counter()
            for model, count in (figures.waiting_images if figures is not None else {}).items():
                waits[id(self._by_model[model])] += count  # a model's own input and its original one
            found = model_metrics.collect(self._tallies.values(), self._no_model, self._loads, waits)
            if figures is not None:
                for principal, limit in tuple(self._limited):
                    if principal not in figures.principals:  # the file names it no more
                        del self._limited[principal, limit]
                found += server_metrics.collect(figures, self._refused, self._limited, self._explanations)
        return found

    def _count_load(self, name: str, result: str) -> None:
        with self._lock:
            self._loads[name, result] = self._loads.get((name, result), 0) + 1
