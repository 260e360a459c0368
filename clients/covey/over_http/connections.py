"""Connections to one server, each for one call at a time, kept for the next one.

Each is an httpx client of its own with one connection. The pool of httpx looks at all connections and all calls that
wait at each step of each call: with 64 connections and 500 calls none of those was answered within 10 s.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from covey.over_http.answers import PROTOBUF
from covey_proto import __version__

MAX_CONNECTIONS = 128  # more calls wait
CONNECT_S = 2.0  # so that another address is tried in time; one lost packet does no harm
_IDLE_S = 15.0  # for a connection to be used again: less than proxies and load balancers allow
_HEADERS = {
    "content-type": PROTOBUF,
    "accept": PROTOBUF,
    "accept-encoding": "identity",
    "user-agent": f"covey-python/{__version__}",
}


class Connections:
    """At most MAX_CONNECTIONS. Used in one event loop."""

    def __init__(self, context: ssl.SSLContext, *, is_local: bool) -> None:
        """`context` is for https. No proxy stands before a server that `is_local`: it would carry the calls off this
        machine, and a token with them."""
        self._context = context
        self._is_local = is_local
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._idle: deque[tuple[float, httpx.AsyncClient]] = deque()  # and since when, the longest first

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[httpx.AsyncClient]:
        """One that no other call uses meanwhile."""
        async with self._room:
            client = self._idle.pop()[1] if self._idle else self._new()
            try:
                yield client
            except BaseException:  # cancelled calls can leave httpcore's pool without its place for a connection
                await client.aclose()
                raise
            self._idle.append((time.monotonic(), client))
            if self._idle[0][0] < time.monotonic() - _IDLE_S:
                await self._idle.popleft()[1].aclose()

    async def close(self) -> None:
        """Closes those that no call uses."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    def _new(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=_HEADERS,
            verify=self._context,
            timeout=httpx.Timeout(None, connect=CONNECT_S),  # calls as a whole have deadlines
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_IDLE_S),
            trust_env=not self._is_local,
        )
