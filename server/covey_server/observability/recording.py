"""Which calls records are kept of, and the thread that writes them: to the access log, and as spans.

The threads that answer calls only append a record to a queue. If whoever takes the lines or spans is too slow, records
are dropped, counted and reported; callers never wait.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from covey_server.calls.burst import Burst
from covey_server.calls.call import Call
from covey_server.calls.record import LOG, TRACE, Record, Recorder
from covey_server.config import Access
from covey_server.errors import InvalidConfiguration
from covey_server.observability import access_log
from covey_server.observability.trace_settings import Sampling, are_wanted, read_sampling

if TYPE_CHECKING:  # it brings opentelemetry, which need not be installed
    from covey_server.observability.traces import Traces

log = logging.getLogger(__name__)

MAX_WAITING = 20_000  # records; 9 MB
_PAUSE_S = 0.02  # in which records gather, so that the thread is woken once for many
_CHUNK = 64  # records written before other threads get the interpreter
_JOIN_S = 5.0


def open_recording(
    access: Access, rate: float, environment: Mapping[str, str], on_traced: Callable[[Record, str], None]
) -> Recording | None:
    """What the settings ask for; None for nothing. Raises InvalidConfiguration."""
    if not are_wanted(environment):
        return None if access == "off" else Recording(access, rate)
    sampling = read_sampling(environment)
    try:
        from covey_server.observability.traces import Traces, open_exporter

        traces = Traces(open_exporter(environment))
    except ModuleNotFoundError as error:
        raise InvalidConfiguration(
            f"OTEL_* variables ask for traces, and the package {error.name!r} is not installed: pip install "
            f"'covey-serve[otel]', for http/protobuf also opentelemetry-exporter-otlp-proto-http; or set "
            f"OTEL_SDK_DISABLED=true"
        ) from error
    return Recording(access, rate, traces, sampling, on_traced)


class Recording(Recorder):
    """Keeps records for the access log and for traces. `start`, then `stop`."""

    def __init__(
        self,
        access: Access,
        rate: float,
        traces: Traces | None = None,
        sampling: Sampling | None = None,
        on_traced: Callable[[Record, str], None] = lambda _, __: None,
    ) -> None:
        """`rate`: the share of calls that `sampled` logs beside errors. `sampling`: which calls `traces` shows;
        `on_traced` is told their traces' ids."""
        self._log_rate = {"all": 1.0, "sampled": rate}.get(access, 0.0)
        self._logs_errors = access != "off"
        self._traces = traces
        self._on_traced = on_traced
        self._sampling = Sampling() if sampling is None else sampling
        self._lock = threading.Lock()
        self.dropped = 0  # records that nobody could take in time
        self._ended: deque[Record] = deque()
        self._wake = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Begins to write records."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what there is, as far as it is taken within seconds."""
        self._is_stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        if self._traces is not None:
            self._traces.close()

    def begin(self, call: Call, path: str, kept_for: int | None = None) -> None:
        if kept_for is None:
            kept_for = self._chosen_for(call.header("traceparent") if self._traces is not None else "")
        if kept_for or self._logs_errors:
            call.record = Record(self, call, path, kept_for)

    def choose(self, burst: Burst) -> Mapping[int, int]:
        if self._traces is None and self._log_rate <= 0:
            return {}
        count = len(burst.payloads)
        parents = burst.headers("traceparent") if self._traces is not None else [""] * count
        chosen = {place: self._chosen_for(parent) for place, parent in enumerate(parents)}
        return {place: kept_for for place, kept_for in chosen.items() if kept_for}

    def ended(self, record: Record) -> None:
        if not record.kept_for and record.status == "OK":
            return
        if len(self._ended) >= MAX_WAITING:
            with self._lock:
                self.dropped += 1
            return
        self._ended.append(record)
        if not self._wake.is_set():
            self._wake.set()

    def _chosen_for(self, parent: str) -> int:
        rate = self._log_rate
        is_logged = rate >= 1 or (rate > 0 and random.random() < rate)
        is_traced = self._traces is not None and self._sampling.wants(parent)
        return LOG * is_logged | TRACE * is_traced

    def _run(self) -> None:
        told = 0
        while not self._is_stopped or self._ended:
            self._wake.wait()
            if not self._is_stopped:
                time.sleep(_PAUSE_S)
            self._wake.clear()  # first: what ends from now on wakes again
            while self._ended:
                for _ in range(min(_CHUNK, len(self._ended))):
                    self._write(self._ended.popleft())
                time.sleep(0)
            if self.dropped > told:
                log.warning("%d records of calls were dropped: they are not taken fast enough", self.dropped - told)
                told = self.dropped

    def _write(self, record: Record) -> None:
        try:
            trace_id = ""
            if record.kept_for & TRACE and self._traces is not None:
                trace_id = self._traces.add(record)
                self._on_traced(record, trace_id)
            if record.kept_for & LOG or (self._logs_errors and record.status != "OK"):
                access_log.write(record, trace_id)
        except Exception:
            log.exception("a record was not written; this is a bug")
