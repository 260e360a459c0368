"""Routes for whoever runs the server: probes and metrics."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from covey_server.calls.http import TEXT, HttpCall, Route, for_http
from covey_server.calls.service import handle
from covey_server.errors import Overloaded, Stopping
from covey_server.observability.health import Health
from covey_server.observability.metrics_server import accepted_format

_MAX_SCRAPES = 16  # that wait


class OperationRoutes:
    """Health is answered at once; metrics by a thread of their own, since a page takes milliseconds."""

    def __init__(self, health: Health, registry: CollectorRegistry) -> None:
        self._health = health
        self._registry = registry
        self._renderer = ThreadPoolExecutor(1, "http-metrics")
        self._places = threading.BoundedSemaphore(_MAX_SCRAPES)

    @property
    def routes(self) -> tuple[Route, ...]:
        return (
            Route(("GET",), "/healthz", for_http(self._healthz), is_open=True),
            Route(("GET",), "/readyz", for_http(self._readyz), is_open=True),
            Route(("GET",), "/metrics", for_http(self._metrics)),
        )

    def close(self) -> None:
        """Answers no more scrapes."""
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _healthz(self, call: HttpCall) -> None:
        self._tell(call, self._health.live, "live", "not live: a batch does not end, restarting the server helps")

    def _readyz(self, call: HttpCall) -> None:
        self._tell(call, self._health.ready, "ready", "not ready: the server starts, drains, or does not work")

    def _tell(self, call: HttpCall, good: bool, yes: str, no: str) -> None:
        call.answer_status, call.answer_type = 200 if good else 503, TEXT
        call.reply(f"{yes if good else no}\n".encode())

    def _metrics(self, call: HttpCall) -> None:
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{_MAX_SCRAPES} scrapes wait already; scrape less often", refused_for="calls")
        try:
            self._renderer.submit(handle, for_http(self._render), call)
        except RuntimeError as error:  # it is closed
            self._places.release()
            raise Stopping("the server has stopped") from error

    def _render(self, call: HttpCall) -> None:
        self._places.release()
        encode, call.answer_type = choose_encoder(accepted_format(call.header("accept")))
        call.reply(encode(self._registry))
