"""What the loops need of a connection, whatever protocol it speaks."""

from __future__ import annotations

from typing import Protocol, TypeVar

from covey_load.wire.outcome import Outcome
from covey_load.wire.sockets import Transport

RequestT = TypeVar("RequestT")
_RequestT = TypeVar("_RequestT", contravariant=True)


class Connection(Protocol[_RequestT]):
    """Calls on one connection. Only connecting may block."""

    socket: Transport

    @property
    def max_concurrent_calls(self) -> int:
        """How many calls the protocol or the server allows at once."""
        ...

    @property
    def retiring(self) -> bool:
        """It opens no more calls, for ever."""
        ...

    @property
    def in_flight(self) -> int:
        """Calls without an outcome."""
        ...

    @property
    def can_open(self) -> bool:
        """Whether `open_call` is allowed now."""
        ...

    @property
    def has_outgoing(self) -> bool:
        """Whether `flush` left something that the socket did not take."""
        ...

    def open_call(self, request: _RequestT, due_ns: int | None = None) -> None:
        """Queues a call that was meant to be sent at `due_ns` (of time.perf_counter_ns), or now."""

    def flush(self) -> None:
        """Sends what is queued, as far as the socket takes it."""

    def receive(self) -> list[Outcome]:
        """Reads what has come; the calls that ended by it. A lost connection ends all its calls, with NO_STATUS."""
        ...

    def cancel_older(self, than_ns: int) -> list[Outcome]:
        """Gives up the calls that were due before `than_ns`; they end with DEADLINE_EXCEEDED."""
        ...

    def close(self) -> None:
        """Calls still in flight are forgotten."""
