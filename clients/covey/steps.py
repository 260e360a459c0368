"""The steps of an operation: what a session asks its client to do, by blocking or by awaiting.

The client performs each one, and sends the outcome back into the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from covey.messages import Method

T = TypeVar("T")


class Conversation(Protocol):
    """Requests and answers over streams, as the session drives it."""

    @property
    def answered(self) -> int:
        """How many elements are answered so far."""

    @property
    def duration_ms(self) -> float:
        """How long an answer may take."""

    def remaining_s(self) -> float:
        """What the deadlines leave for another attempt."""


@dataclass(slots=True)
class Send:
    """Send `request` to the address at `place` and give back the response, or throw in what gRPC raised."""

    place: int
    method: Method[Any, Any]
    request: object
    timeout_s: float


@dataclass(slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(slots=True)
class Work:
    """Do what may take long without being I/O of gRPC: read files, encode images. Give back what it returns."""

    do: Callable[[], Any]


@dataclass(slots=True)
class Converse:
    """Have the conversation by one stream to the address at `place`, or throw in what gRPC raised."""

    place: int
    conversation: Conversation


Steps: TypeAlias = Generator[Send | Pause | Work | Converse, Any, T]
