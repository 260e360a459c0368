"""What is kept of a single call, for the access log and for traces.

Kept only of calls that somebody wants to read of, as a `Recorder` chooses. Those go the ordinary way, one by one, so
that the fast way knows nothing of them. Times are of time.monotonic_ns.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covey_server.calls.burst import Burst
    from covey_server.calls.call import Call
    from covey_server.calls.status import Status

LOG, TRACE = 1, 2  # what a record is kept for
PARTS = ("decode", "queue", "compute", "answer")  # of a call


class Record:
    """One call: what was asked by whom, what it was answered with, and when. `model` to `computed_ns` are those of the
    request that the pipeline made of it; a time that was not reached is 0."""

    __slots__ = (
        "answer_bytes", "arrived_ns", "batch_size", "computed_ns", "ended_ns", "http", "images", "is_open", "kept_for",
        "message", "method", "model", "parent", "peer", "principal", "queued_ns", "recorder", "request_bytes",
        "request_id", "route", "started_ns", "status", "version",
    )  # fmt: skip

    def __init__(self, recorder: Recorder, call: Call, path: str, kept_for: int) -> None:
        """`path` is what gRPC calls; `kept_for` is LOG, TRACE, both, or 0: only to tell of an error."""
        self.recorder = recorder
        self.is_open = True
        self.kept_for = kept_for
        self.method = call.asked or path  # with the target as it came, over HTTP
        self.route = call.route or path  # one of a closed set; "" if there is none
        self.peer = call.peer
        self.principal = call.principal
        self.request_id = call.request_id
        self.request_bytes = len(call.payload)
        # W3C's trace context: which span of the caller's this is a part of.
        self.parent = (call.header("traceparent"), call.header("tracestate")) if kept_for & TRACE else ("", "")
        self.arrived_ns = call.arrived_ns
        self.model = ""
        self.version = 0
        self.images = self.batch_size = self.queued_ns = self.started_ns = self.computed_ns = 0
        self.ended_ns = 0
        self.status = "OK"
        self.http = 0  # the status over HTTP; 0: it came by gRPC
        self.message = ""  # of an error
        self.answer_bytes = 0

    @property
    def parts(self) -> list[tuple[str, int, int]]:
        """The parts of a call that reached the queue, as far as it came: name, begin, end. They follow each other
        without a gap, from its arrival to its answer."""
        if not self.queued_ns:
            return []
        found, begin_ns = [], self.arrived_ns
        for name, end_ns in zip(PARTS, (self.queued_ns, self.started_ns, self.computed_ns, self.ended_ns), strict=True):
            if not end_ns:
                break
            found.append((name, begin_ns, end_ns))
            begin_ns = end_ns
        return found

    def end(self, failure: Status | None, answer_bytes: int, http: int = 0) -> None:
        """Ends the record with the answer. Fronts call it; what comes after the first is ignored."""
        if not self.is_open:
            return
        self.is_open = False
        self.ended_ns = time.monotonic_ns()
        self.answer_bytes = answer_bytes
        self.http = http
        if failure is not None:
            self.status, self.message = failure.name, failure.message
        self.recorder.ended(self)


class Recorder(ABC):
    """Chooses the calls of which records are kept, and takes the records."""

    @abstractmethod
    def begin(self, call: Call, path: str, kept_for: int | None = None) -> None:
        """Gives a call a record, if one is wanted. `path` and `kept_for` as in Record; None: to be chosen."""

    @abstractmethod
    def choose(self, burst: Burst) -> Mapping[int, int]:
        """What records are kept for, by the place of the call in a burst; of all others only errors are told."""

    @abstractmethod
    def ended(self, record: Record) -> None:
        """Takes a record whose call was answered; from any thread."""
