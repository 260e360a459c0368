"""A call that came over HTTP, and the routes by which protocols offer handlers for such calls.

Headers, paths and bodies are those of HTTP; what they mean is the protocol's business.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from covey_server.calls.burst import Burst
from covey_server.calls.call import Buffer, Call
from covey_server.calls.service import BurstHandler, Handler

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
LARGE_BYTES = 256 << 10  # an answer above is not copied: 8 MB take 5 ms, in which no other thread runs
Arguments: TypeAlias = Mapping[str, str]
Body: TypeAlias = bytes | tuple[bytes, Buffer]
"""A body; or its beginning and, if that is large, its rest as it lies in memory."""


@dataclass(frozen=True)
class Route:
    """A method and a path whose segments may be names in braces: "/v1/models/{model}". `handler` gets an HttpCall.

    `is_open`: callers need no token, which is for probes. `error_members`: further names under which an error's text is
    given, for clients of other servers. `burst_handler` gets HttpBursts, where the handler can do with several what it
    does with one.
    """

    methods: Sequence[str]
    path: str
    handler: Handler
    is_open: bool = False
    error_members: Sequence[str] = ()
    burst_handler: BurstHandler | None = None


class HttpCall(Call):
    """As Call. `payload` is the whole body, `metadata` are the headers.

    Before the answer, a handler may set the status, content type and further headers that it is to have; errors have
    their own. `write` makes the answer's body of what `reply` is given; it may set these too, or raise a RequestError
    in place of an answer.
    """

    __slots__ = ("answer_headers", "answer_status", "answer_type", "arguments", "query", "write")

    arguments: Arguments  # the path's segments, by the names in the route
    query: Arguments  # each name's only value
    answer_status: int
    answer_type: str
    answer_headers: Sequence[tuple[str, str]]
    write: Callable[[bytes], Body] | None

    @abstractmethod
    def begin_stream(self) -> bool:
        """Begins an answer in parts, in place of `reply`. False if there is nothing to send: it was asked for the
        headers only, or the caller is gone."""

    @abstractmethod
    def send_part(self, data: bytes) -> bool:
        """Sends a part of such an answer, from any thread. False, and nothing is sent, while the caller has not taken
        the part before; `cancelled` tells whether it is gone."""

    @abstractmethod
    def end_stream(self) -> None:
        """Ends such an answer."""

    def hand_over(self, handler: Handler, payload: bytes, write: Callable[[bytes], Body]) -> None:
        """Has a handler of another protocol answer: it gets `payload`, and `write` makes an answer of its reply."""
        self.payload, self.size_bytes, self.write = payload, len(payload), write
        handler(self)


class Written(NamedTuple):
    """Answers of calls of a burst, which have all but their bodies in common. Their status is 200."""

    content_type: str
    headers: Sequence[tuple[str, str]]
    bodies: Sequence[bytes]


class HttpBurst(Burst):
    """Calls whose lines and headers are the same. Their bodies, which are the payloads, have one length."""

    __slots__ = ("arguments", "query", "settle", "write")

    arguments: Arguments  # as in HttpCall
    query: Arguments
    settle: Callable[[HttpCall], None] | None
    write: Callable[[Sequence[bytes]], Written | None] | None

    @abstractmethod
    def header(self, name: str) -> str:
        """As HttpCall.header."""

    def hand_over(
        self,
        handler: BurstHandler,
        at_once: bool,
        payloads: Sequence[bytes],
        settle: Callable[[HttpCall], None],
        write: Callable[[Sequence[bytes]], Written | None],
    ) -> None:
        """Has a handler of another protocol answer: it gets `payloads`, and `write` makes answers of its replies. Where
        `write` returns None, and where the handler takes the calls one by one, `settle` has set how each is
        answered."""
        self.payloads, self.settle, self.write = payloads, settle, write
        handler(self, at_once)


HttpHandler: TypeAlias = Callable[[HttpCall], None]


def for_http(handler: HttpHandler) -> Handler:
    """A handler of HTTP calls as one of calls. Fronts give a route's handler nothing else."""

    def handle(call: Call) -> None:
        if not isinstance(call, HttpCall):
            raise TypeError(f"{type(call).__name__} did not come over HTTP; this is a bug")
        handler(call)

    return handle


HttpBurstHandler: TypeAlias = Callable[[HttpBurst, bool], None]


def bursts_for_http(handler: HttpBurstHandler) -> BurstHandler:
    """The same for a handler of bursts."""

    def handle(burst: Burst, at_once: bool) -> None:
        if not isinstance(burst, HttpBurst):
            raise TypeError(f"{type(burst).__name__} did not come over HTTP; this is a bug")
        handler(burst, at_once)

    return handle
