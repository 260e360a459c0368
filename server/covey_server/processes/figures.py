"""The metrics of the whole server: one scrape asks all processes and adds up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import wait

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from covey_server.processes import merging
from covey_server.processes.child import Child
from covey_server.processes.merging import Ended, Plain

_ANSWER_S = 2.0  # for a process; then its last figures stand for it


class Figures(Collector):
    """Collects for the metrics port, and for processes that are scraped over HTTP. Safe from any thread."""

    def __init__(self, children: Callable[[], Sequence[Child]], restarts: Callable[[], int]) -> None:
        """`children` are those that serve or leave."""
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._parent = CollectorRegistry()
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=self._parent)
        self._children = children
        self._restarts = restarts
        self._ended = Ended()
        self._lock = threading.Lock()  # of one scrape, so that a process is not missed or counted twice as it ends

    def collect(self) -> Iterable[Metric]:
        """Called by prometheus_client at each scrape."""
        return merging.families(self.page())

    def page(self) -> Plain:
        """The merged families."""
        with self._lock:
            children = self._children()
            wait([child.ask_figures() for child in children], _ANSWER_S)
            running = [child.figures for child in children]
            counts = self._ended.counts(running)
            return merging.merge([merging.plain(self._own(children)), *running, counts])

    def end(self, child: Child, forget: Callable[[], None]) -> None:
        """Keeps the counts of a process that has ended; `forget` takes it off the children at the same moment."""
        with self._lock:
            self._ended.add(child.figures)
            forget()

    def _own(self, children: Sequence[Child]) -> Iterable[Metric]:
        yield from self._parent.collect()
        serving = sum(child.takes_calls for child in children)
        yield GaugeMetricFamily("covey_processes", "Processes that take calls.", value=serving)
        yield CounterMetricFamily(
            "covey_processes_replaced", "Processes that ended and got a successor.", value=self._restarts()
        )
