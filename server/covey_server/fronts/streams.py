"""All streams that are open on a grpcio front: how many, what they hold together, and their end."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

import grpc

from covey_server.calls.service import Services, StreamMethod
from covey_server.calls.status import Status
from covey_server.fronts.grpcio_security import Caller
from covey_server.fronts.holdings import Holdings
from covey_server.fronts.security.tokens import Tokens
from covey_server.fronts.stream import UNIX, Context, Stream

MAX_STREAMS = 1_000  # open at once
CODES = {code.value[0]: code for code in grpc.StatusCode}


class Streams:
    """The open streams of a front. While they hold `max_bytes` together, none is read."""

    def __init__(self, max_bytes: int, tokens: Tokens | None, handed: dict[str, int]) -> None:
        """`handed` counts the bytes that are read, by connection."""
        self.held = Holdings(max_bytes)
        self._tokens = tokens
        self._handed = handed
        self.count = 0  # open ones; one whose last status nobody reads stays open until its caller goes
        self._open: set[Stream] = set()
        self._numbers = itertools.count()

    @property
    def handed_bytes(self) -> int:
        """Bytes of the calls whose connection is not known, since they came by a Unix socket."""
        return self._handed.get(UNIX, 0)

    def handler(self, method: StreamMethod, services: Services) -> Callable[[object, Context], Awaitable[None]]:
        """What grpcio calls for each new stream."""

        async def serve(messages: object, context: Context) -> None:
            if self.count >= MAX_STREAMS:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _too_many())
            self.count += 1
            try:
                caller = Caller(context, self._tokens)
                ending = await self._serve(
                    Stream(method, services, context, self._peer(context), caller, self.held, self._handed)
                )
                if ending is not None:
                    await context.abort(CODES[ending.code], ending.message)
            finally:
                self.count -= 1

        return serve

    async def _serve(self, stream: Stream) -> Status | None:
        self._open.add(stream)
        try:
            return await stream.serve()
        finally:
            self._open.discard(stream)

    def end(self) -> None:
        """Ends all streams; each first answers what it has read. Only on the event loop's thread."""
        for stream in self._open:
            stream.end()

    def _peer(self, context: Context) -> str:
        """The caller that admission counts a stream for: its connection. Behind the native front all streams come by
        one socket and their connections are not known, so each counts as a caller of its own."""
        peer = context.peer()
        return f"{peer}{next(self._numbers)}" if peer.startswith(UNIX) else peer


def _too_many() -> str:
    return (
        f"{MAX_STREAMS:,} streams are open already, as many as are let in; try again later, or send more requests by "
        f"each stream"
    )
