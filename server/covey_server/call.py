"""A Call: one gRPC request as the fronts hand it in and the services answer it.

All that fronts and services share. Payloads are bytes; messages are the services' business.
"""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from covey_server import status
from covey_server.errors import RequestError
from covey_server.status import Status

log = logging.getLogger(__name__)


class Call(ABC):
    """Answered exactly once, by `reply` or by `fail`, from any thread. Times are of time.monotonic_ns."""

    __slots__ = ("arrived_ns", "cancelled", "deadline_ns", "payload", "peer", "size_bytes")

    def __init__(self, payload: bytes, peer: str, arrived_ns: int, deadline_ns: int | None) -> None:
        self.payload = payload
        self.peer = peer  # the connection it came by
        self.size_bytes = len(payload)  # what admission has counted for it; decoding adds to it
        self.arrived_ns = arrived_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False  # set by the front when the caller goes away

    @abstractmethod
    def reply(self, payload: bytes) -> None:
        """Answers with a message."""

    @abstractmethod
    def fail(self, status: Status) -> None:
        """Answers with a status other than OK."""


Handler = Callable[[Call], None]


@dataclass(frozen=True)
class Service:
    """A gRPC service: its full name and its unary methods.

    `dispatch` has to be called after one or many handlers: then what they queued begins. True lets it run on the
    calling thread what is quickly done.
    """

    name: str
    handlers: Mapping[str, Handler]
    dispatch: Callable[[bool], None]

    @property
    def paths(self) -> dict[str, Handler]:
        """The handlers by the path that gRPC gives them."""
        return {f"/{self.name}/{method}": handler for method, handler in self.handlers.items()}


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
