"""A Call: one gRPC request, or one of a stream's, as the fronts hand it in and the services answer it.

All that fronts and services share. Payloads are bytes; messages are the services' business.
"""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from covey_server.calls import status
from covey_server.calls.status import Status
from covey_server.errors import RequestError

log = logging.getLogger(__name__)


class Call(ABC):
    """Answered exactly once, by `reply` or by `fail`, from any thread. Times are of time.monotonic_ns."""

    __slots__ = ("arrived_ns", "cancelled", "deadline_ns", "payload", "peer", "size_bytes")
    # Whether admission counts the answer until it is written: where the front tells it when.
    holds_answer = False

    def __init__(self, payload: bytes, peer: str, arrived_ns: int, deadline_ns: int | None) -> None:
        self.payload = payload
        self.peer = peer  # the connection it came by
        self.size_bytes = len(payload)  # what admission has counted for it; decoding adds to it
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False  # set by the front when the caller goes away

    @property
    def waits_for_room(self) -> bool:
        """Whether the front tries it again where it is refused as Overloaded now: then it is not counted as refused."""
        return False

    @abstractmethod
    def reply(self, payload: bytes) -> None:
        """Answers with a message."""

    @abstractmethod
    def fail(self, status: Status) -> None:
        """Answers with a status other than OK."""


Handler = Callable[[Call], None]


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
    """A gRPC service: its full name, its unary methods and its streams.

    `dispatch` has to be called after one or many handlers: then what they queued begins. True lets it run on the
    calling thread what is quickly done. `written` is told when an answer that is held has gone, where the front knows.
    """

    name: str
    handlers: Mapping[str, Handler]
    dispatch: Callable[[bool], None]
    written: Callable[[int, str], None] = lambda answer_bytes, caller: None
    streams: Mapping[str, StreamMethod] = field(default_factory=dict)

    @property
    def paths(self) -> dict[str, Handler]:
        """The handlers by the path that gRPC gives them."""
        return {f"/{self.name}/{method}": handler for method, handler in self.handlers.items()}

    @property
    def stream_paths(self) -> dict[str, StreamMethod]:
        """The streams in the same way."""
        return {f"/{self.name}/{method}": stream for method, stream in self.streams.items()}


def handle(handler: Handler, call: Call) -> None:
    """Runs a handler. Whatever it raises becomes the call's status; nothing gets past."""
    try:
        try:
            handler(call)
        except RequestError as error:
            call.fail(status.of(error))
    except Exception as error:
        log.exception("a handler failed; this is a bug")
        with contextlib.suppress(Exception):  # the thread that takes all calls must survive anything
            call.fail(status.of(error))
