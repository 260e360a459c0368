"""A channel for asyncio that looks as grpc.aio's does: unary calls, each a POST, and streams made of such calls."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import certifi
import grpc
import httpx

from covey import messages
from covey.connection import Deadline, is_local
from covey.failures import Failure
from covey.over_http import answers
from covey.over_http.connections import CONNECT_S, Connections
from covey.over_http.reading import read_body
from covey.over_http.stream import HttpStream
from covey.security import TLS, Access, Metadata
from covey_proto.v1 import classifier_pb2 as pb

_MIN_PAUSE_MS = 5  # before an element of a stream that found no room is sent again

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
T = TypeVar("T")


class HttpChannel:
    """Calls to one address, a normalised URL. Made and used in one event loop. Raises Failure where the files of its
    TLS cannot be used."""

    def __init__(self, target: str, access: Access) -> None:
        self._target = target
        self._access = access
        self._calls: set[asyncio.Task[Any]] = set()
        self._streams: weakref.WeakSet[HttpStream] = weakref.WeakSet()
        self._extensions = {"sni_hostname": access.tls.server_name} if access.tls and access.tls.server_name else None
        self._connections = Connections(_context(access.tls), is_local=is_local(target))

    def unary_unary(
        self, path: str, serialize: Callable[[RequestT], bytes], parse: Callable[[bytes], ResponseT]
    ) -> Callable[..., Awaitable[ResponseT]]:
        """As grpc.aio's. What it gives raises Failure."""

        async def call(request: RequestT, *, timeout: float, metadata: Metadata | None) -> ResponseT:
            return answers.parsed(parse, await self.post(path, serialize(request), timeout, metadata))

        return call

    def stream_stream(self, path: str, serialize: object, parse: object) -> Callable[..., HttpStream]:
        """As grpc.aio's, of the one stream that there is. Each element takes the token that is valid then."""
        del path, serialize, parse

        def open_stream(elements: AsyncIterable[pb.ClassifyStreamRequest], *, metadata: Metadata | None) -> HttpStream:
            del metadata
            stream = HttpStream(elements, self._answer)
            self._streams.add(stream)
            return stream

        return open_stream

    async def post(self, path: str, message: bytes, timeout_s: float, metadata: Metadata | None) -> bytes:
        """One call. Raises Failure; CancelledError where the channel is closed meanwhile."""
        return await self._closable(self._post(path, message, timeout_s, metadata))

    async def close(self) -> None:
        """Ends all calls."""
        for stream in list(self._streams):
            stream.cancel()
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._connections.close()

    async def _closable(self, call: Coroutine[Any, Any, T]) -> T:
        """In a task of its own: to cancel the caller's would look as if somebody else had done so."""
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await task

    async def _post(self, path: str, message: bytes, timeout_s: float, metadata: Metadata | None) -> bytes:
        url = f"{self._target}{path}?timeout_ms={max(1, math.ceil(timeout_s * 1_000))}"
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._connections.taken() as connection,
                connection.stream(
                    "POST", url, content=message, headers=metadata, extensions=self._extensions
                ) as response,
            ):
                body = await read_body(response)
        except TimeoutError:
            raise Failure("DEADLINE_EXCEEDED", "Deadline Exceeded") from None
        except (httpx.RequestError, OSError, UnicodeError) as error:
            # An alert of TLS comes as what it is, ssl.SSLError; a host that starts with xn-- and means nothing, too.
            raise Failure("UNAVAILABLE", self._words(error)) from error
        return answers.message(response.status_code, response.headers, body)

    async def _answer(self, element: pb.ClassifyStreamRequest) -> pb.ClassifyStreamResponse:
        """An element of a stream by a call of its own. Raises Failure where the stream is to end."""
        deadline = Deadline(element.deadline_us / 1_000)
        message, path = element.request.SerializeToString(), messages.CLASSIFY.path
        while True:
            try:
                answer = await self.post(path, message, deadline.remaining_s(), self._access.metadata)
                response = answers.parsed(messages.CLASSIFY.parse, answer)
            except Failure as failure:
                if failure.code() is grpc.StatusCode.UNAVAILABLE:
                    raise
                pause_s = max(failure.retry_after_ms or 0, _MIN_PAUSE_MS) / 1_000 * (1 + random.random())
                if failure.retry_after_ms and pause_s < deadline.remaining_s():
                    await asyncio.sleep(pause_s)  # a server leaves what comes by gRPC's streams waiting in the same way
                    continue
                code, hint = failure.code().name, failure.retry_after_ms
                error = pb.StreamError(code=code, message=failure.details(), retry_after_ms=hint)
                return pb.ClassifyStreamResponse(id=element.id, error=error)
            return pb.ClassifyStreamResponse(id=element.id, response=response)

    def _words(self, error: Exception) -> str:
        words = _deepest(error).rstrip(".") or type(error).__name__
        if isinstance(error, httpx.ConnectTimeout):
            return f"no connection within {CONNECT_S:g} s"
        if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError) and self._target.startswith("http:"):
            return f"{words}; if the server has TLS, write https://"
        return words


def _context(tls: TLS | None) -> ssl.SSLContext:
    """Raises Failure."""
    if tls is None:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; the default one takes 20 ms to make
    try:
        context = tls.context()
        if tls.ca_certificate is None:
            context.load_verify_locations(certifi.where())  # beside the system's: not each system has any
    except (OSError, ValueError) as error:
        raise Failure("UNAVAILABLE", f"Failed to create security handshaker: {error}") from error
    return context


def _deepest(error: BaseException) -> str:
    """The words of the first cause: those above it often say only that all attempts failed."""
    words = ""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[-1]
        else:
            words = str(cause) or words
            cause = cause.__cause__
    return words
