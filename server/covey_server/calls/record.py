"""What is kept of a single call, for the access log and for traces.

Kept only of calls that somebody wants to read of, as a `Recorder` chooses. Those go the ordinary way, one by one, so
that the fast way knows nothing of them. Times are of time.monotonic_ns.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from covey_server.calls.burst import Burst
    from covey_server.calls.call import Call
    from covey_server.calls.status import Status

LOG, TRACE = 1, 2  # what a record is kept for


class Model(Protocol):
    """A model, as far as a record names it."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...


class Run(Protocol):
    """A request with its time stamps, as far as a record shows it: stamps are 0 for what was not reached."""

    @property
    def count(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def queued_ns(self) -> int: ...

    @property
    def started_ns(self) -> int: ...

    @property
    def computed_ns(self) -> int: ...


class Record:
    """One call: what was asked by whom, what it was answered with, and when."""

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

    def note(self, model: Model, run: Run) -> None:
        """Keeps what a request shows, when it is about to be answered."""
        self.model, self.version, self.images = model.name, model.version, run.count
        self.batch_size = run.batch_size
        self.queued_ns, self.started_ns, self.computed_ns = run.queued_ns, run.started_ns, run.computed_ns

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
