"""/v1/watch: the counts of /metrics as they change, by server-sent events, for the page's charts.

One snapshot a second is made for all watchers together, and none while nobody watches. It holds counts since the start,
as /metrics does; what happened in between is for the watcher to subtract.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.errors import Overloaded, Stopping
from covey_server.protocols.rest import json_text

log = logging.getLogger(__name__)

MAX_WATCHERS = 16
INTERVAL_S = 1.0
MAX_WATCH_S = 120.0  # then the watcher asks again, so that a token which was taken back is not used for longer
_SHOWN = ("covey_", "process_")
_LARGE = "covey_answers"  # a hundred classes of each version, which no chart shows
_RETRY = b"retry: 2000\n\n"  # milliseconds until a browser asks again


class LiveRoute:
    """The watchers, and the thread that tells them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._watchers: dict[HttpCall, float] = {}  # until when, by time.monotonic
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        return (Route(("GET",), "/v1/watch", for_http(self._begin)),)

    def close(self) -> None:
        """Ends all streams."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _begin(self, call: HttpCall) -> None:
        with self._changed:
            if self._is_closed:
                raise Stopping("the server is shutting down")
            self._watchers = {each: until for each, until in self._watchers.items() if not each.cancelled}
            if len(self._watchers) >= MAX_WATCHERS:
                raise Overloaded(
                    f"{MAX_WATCHERS} callers watch already; close a page, or read /metrics",
                    retry_after_ms=1000,
                )
            call.answer_type = "text/event-stream"
            call.answer_headers = (("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"))
            if not call.begin_stream():
                return
            call.send_part(_RETRY)
            self._watchers[call] = time.monotonic() + MAX_WATCH_S
            if self._thread is None:
                self._thread = threading.Thread(target=self._tell, name="http-watch", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _tell(self) -> None:
        while True:
            with self._changed:
                while not self._watchers and not self._is_closed:
                    self._changed.wait()
                watchers, is_closed = dict(self._watchers), self._is_closed
            now_s = time.monotonic()
            event = b"" if is_closed else self._event()
            for call, until_s in watchers.items():
                if is_closed or now_s > until_s:
                    call.end_stream()
                elif event:
                    call.send_part(event)  # a watcher that has not taken the last one misses this one
            if is_closed:
                return
            with self._changed:
                for call, until_s in watchers.items():
                    if call.cancelled or now_s > until_s:
                        self._watchers.pop(call, None)  # `_begin` may have forgotten it
                self._changed.wait_for(lambda: self._is_closed, INTERVAL_S)

    def _event(self) -> bytes:
        try:
            return b"data: %b\n\n" % json_text.compact(snapshot(self._registry.collect()))
        except Exception:
            log.exception("no figures could be sent to those who watch; this is a bug")
            return b""


def snapshot(metrics: Iterable[Metric]) -> dict[str, object]:
    """Figures as JSON: by metric, its labels' names and a row for each child. A row has the labels' values and
    the number; of a histogram the cumulative counts by bound, and the sum."""
    found: dict[str, object] = {"time": time.time()}
    for metric in metrics:
        if metric.name.startswith(_SHOWN) and metric.name != _LARGE:
            found[metric.name] = _histogram(metric) if metric.type == "histogram" else _plain(metric)
    return found


def _plain(metric: Metric) -> dict[str, object]:
    samples = [each for each in metric.samples if not each.name.endswith("_created")]
    labels = list(samples[0].labels) if samples else []
    return {"labels": labels, "rows": [[*each.labels.values(), each.value] for each in samples]}


def _histogram(metric: Metric) -> dict[str, object]:
    bounds: list[str] = []
    labels: list[str] = []
    counts: dict[tuple[str, ...], list[float]] = {}
    sums: dict[tuple[str, ...], float] = {}
    for sample in metric.samples:
        own = {name: value for name, value in sample.labels.items() if name != "le"}
        key, labels = tuple(own.values()), list(own)
        if "le" in sample.labels:
            if sample.labels["le"] not in bounds:
                bounds.append(sample.labels["le"])
            counts.setdefault(key, []).append(sample.value)
        elif sample.name.endswith("_sum"):
            sums[key] = sample.value
    rows = [[*key, values, sums.get(key, 0.0)] for key, values in counts.items()]
    return {"labels": labels, "bounds": bounds, "rows": rows}
