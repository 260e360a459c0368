"""What a protocol offers to the fronts: its methods, and the one way to have calls handled."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from covey_server.calls import late_refusals, status
from covey_server.calls.burst import Burst
from covey_server.calls.call import Call
from covey_server.calls.record import Recorder
from covey_server.calls.status import Status
from covey_server.errors import RequestError

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Call], None]
"""Answers a call, or queues what will; it may raise a RequestError in place of an answer."""

BurstHandler: TypeAlias = Callable[[Burst, bool], None]
"""Answers all calls of a burst, or queues what will, as the method's handler would do with each of them. With True
nothing else came with them, and what is quickly done may be run at once."""


class Element(ABC):
    """One message of a stream: opens it, and writes the message that answers it. Until it is opened, and where it
    cannot be, answers name no request."""

    deadline_us = 0  # how long the answer may take from the arrival on; 0: as long as the stream

    @abstractmethod
    def open(self, message: bytes) -> bytes:
        """The payload of the call that is in the message. Raises InvalidRequest."""

    @abstractmethod
    def reply(self, payload: bytes) -> bytes:
        """The message for a call that was answered."""

    @abstractmethod
    def fail(self, status: Status) -> bytes:
        """The message for a call that failed."""


@dataclass(frozen=True)
class StreamMethod:
    """A bidirectional stream, which is many calls: each of its messages is opened and given to the handler."""

    handler: Handler
    element: Callable[[], Element]


@dataclass(frozen=True)
class Service:
    """A gRPC service: its full name, its unary methods, its streams, and the unary methods that take bursts."""

    name: str
    handlers: Mapping[str, Handler]
    streams: Mapping[str, StreamMethod] = field(default_factory=dict)
    burst_handlers: Mapping[str, BurstHandler] = field(default_factory=dict)

    @property
    def paths(self) -> dict[str, Handler]:
        """The handlers by the path that gRPC gives them."""
        return {f"/{self.name}/{method}": handler for method, handler in self.handlers.items()}

    @property
    def burst_paths(self) -> dict[str, BurstHandler]:
        """The handlers of bursts in the same way."""
        return {f"/{self.name}/{method}": handler for method, handler in self.burst_handlers.items()}

    @property
    def stream_paths(self) -> dict[str, StreamMethod]:
        """The streams in the same way."""
        return {f"/{self.name}/{method}": stream for method, stream in self.streams.items()}


@dataclass(frozen=True)
class Services:
    """All services of a server. Fronts hand calls over by `serve`, or by `serve_bursts` if they can give out bursts,
    never to a handler directly.

    `begin` starts what handlers have queued; with True the calling thread may run what is quickly done. `written` is
    told the bytes of an answer that has gone to a caller, by fronts that know. `recorder` keeps records of calls.
    """

    all: Sequence[Service]
    begin: Callable[[bool], None]
    written: Callable[[int, str], None]
    recorder: Recorder | None = None

    def serve(self, calls: Iterable[tuple[Handler, Call]], *, inline: bool) -> None:
        """Handles calls that came together, then begins what they have queued. Raises nothing."""
        self._handle_each(calls)
        self.begin(inline)

    def serve_bursts(
        self,
        bursts: Sequence[tuple[Handler, BurstHandler | None, Burst]],
        calls: Sequence[tuple[Handler, Call]] = (),
        *,
        inline: bool,
    ) -> None:
        """As `serve`, for bursts of calls that came together, each with its method's handlers, and single calls that
        came with them."""
        self._handle_each(calls)
        for handler, burst_handler, burst in bursts:
            left = burst if self.recorder is None else self._take_recorded(self.recorder, handler, burst)
            if left is None:
                continue
            if burst_handler is None:
                for call in left.calls():
                    handle(handler, call)
                continue
            try:
                burst_handler(left, inline and left is burst and len(bursts) == 1 and not calls)
            except Exception:
                log.exception("a burst of calls was lost; this is a bug")
        self.begin(inline)

    def _handle_each(self, calls: Iterable[tuple[Handler, Call]]) -> None:
        recorder = self.recorder
        for handler, call in calls:
            if recorder is not None and call.record is None:  # a stream's call that was tried before may have one
                recorder.begin(call, self._paths.get(handler, ""))
            handle(handler, call)

    def _take_recorded(self, recorder: Recorder, handler: Handler, burst: Burst) -> Burst | None:
        """Handles the calls of a burst that are to have records, one by one; returns what is left of it."""
        path = self._paths.get(handler, "")
        chosen = recorder.choose(burst)
        others = [place for place in range(len(burst.payloads)) if place not in chosen] if chosen else ()
        left = burst if not chosen else burst.select(others) if others else None
        if left is not None:
            left.begin_record = lambda call: recorder.begin(call, path, 0)
        if chosen:
            some = burst if left is None else burst.select(tuple(chosen))
            for call, kept_for in zip(some.calls(), chosen.values(), strict=True):
                recorder.begin(call, path, kept_for)
                handle(handler, call)
        return left

    @cached_property
    def _paths(self) -> Mapping[Handler, str]:
        """The paths of gRPC, by handler."""
        streams = {stream.handler: path for service in self.all for path, stream in service.stream_paths.items()}
        return streams | {handler: path for service in self.all for path, handler in service.paths.items()}


def handle(handler: Handler, call: Call) -> None:
    """Runs a handler. Whatever it raises becomes the call's status."""
    try:
        handler(call)
    except Exception as error:  # noqa: BLE001 - as above
        _fail(call, error)


def _fail(call: Call, error: Exception) -> None:
    try:
        if isinstance(error, RequestError):
            late_refusals.fail(call, error, status.of(error))
            return
    except Exception as failed:  # noqa: BLE001 - as above
        error = failed
    log.error("a handler failed; this is a bug", exc_info=error)
    with contextlib.suppress(Exception):  # the thread that takes all calls must survive anything
        call.fail(status.of(error))
