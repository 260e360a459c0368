"""The same channels for threads: their calls run on an event loop that has a thread of its own.

A blocking socket could be given up neither exactly at a call's deadline nor when another thread closes the client.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from covey.failures import Failure
from covey.over_http import answers
from covey.over_http.channel import HttpChannel
from covey.over_http.stream import HttpStream
from covey.security import Access, Metadata
from covey_proto.v1 import classifier_pb2 as pb

_MAX_END_S = 1.0  # for the thread to close its sockets

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
T = TypeVar("T")


class LoopThread:
    """An event loop on a daemon thread. It ends at `close`, or when nobody holds this any more, and closes `channels`
    then."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.channels: list[HttpChannel] = []
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=_run_loop, args=(self.loop, self.channels), name="covey-http", daemon=True
        )
        self._thread.start()
        self._stop = weakref.finalize(self, _stop_loop, self.loop, os.getpid())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives. Raises what it raises, Failure (CANCELLED) where it is ended by `close`, ValueError
        after `close`, as gRPC does."""
        with self._lock:
            if self._closed:
                work.close()
                raise ValueError("the channel is closed")
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Failure("CANCELLED", "the channel was closed") from None
        except BaseException:  # an interrupt: nobody waits for it any more
            future.cancel()
            raise

    def close(self) -> None:
        """Ends what runs. Does nothing the second time."""
        with self._lock:
            self._closed = True
        self._stop()
        self._thread.join(_MAX_END_S)


def _run_loop(loop: asyncio.AbstractEventLoop, channels: Sequence[HttpChannel]) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_end(channels))
    finally:
        loop.close()


async def _end(channels: Sequence[HttpChannel]) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    await asyncio.get_running_loop().shutdown_asyncgens()


def _stop_loop(loop: asyncio.AbstractEventLoop, process: int) -> None:
    if process == os.getpid():  # in a forked child the loop is a copy that nobody runs
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(loop.stop)


class BlockingChannel:
    """A channel for threads that looks as gRPC's does."""

    def __init__(self, channel: HttpChannel, thread: LoopThread) -> None:
        self._channel = channel
        self._thread = thread

    def unary_unary(
        self, path: str, serialize: Callable[[RequestT], bytes], parse: Callable[[bytes], ResponseT]
    ) -> Callable[..., ResponseT]:
        """As gRPC's. What it gives raises Failure, and ValueError where the channel is closed."""

        def call(request: RequestT, *, timeout: float, metadata: Metadata | None) -> ResponseT:
            message = self._thread.run(self._channel.post(path, serialize(request), timeout, metadata))
            return answers.parsed(parse, message)

        return call

    def stream_stream(self, path: str, serialize: object, parse: object) -> Callable[..., BlockingStream]:
        """As gRPC's, of the one stream that there is."""
        open_stream = self._channel.stream_stream(path, serialize, parse)

        def open_blocking(elements: Iterator[pb.ClassifyStreamRequest], *, metadata: Metadata | None) -> BlockingStream:
            async def begin() -> HttpStream:
                return open_stream(_pulled(elements), metadata=metadata)

            return BlockingStream(self._thread.run(begin()), self._thread)

        return open_blocking

    def close(self) -> None:
        """Ends all calls, and those of all channels that were opened with it."""
        self._thread.close()


class BlockingStream:
    """As a call of gRPC: an iterator over answers."""

    def __init__(self, stream: HttpStream, thread: LoopThread) -> None:
        self._stream = stream
        self._thread = thread

    def __iter__(self) -> Iterator[pb.ClassifyStreamResponse]:
        while (found := self._thread.run(_next(self._stream))) is not None:
            yield found

    def cancel(self) -> None:
        """Ends what is under way."""
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all
            self._thread.loop.call_soon_threadsafe(self._stream.cancel)


async def _next(stream: HttpStream) -> pb.ClassifyStreamResponse | None:
    async for found in stream:
        return found
    return None


async def _pulled(elements: Iterator[pb.ClassifyStreamRequest]) -> AsyncIterator[pb.ClassifyStreamRequest]:
    """Elements of an iterator that blocks, taken from it on a thread: a daemon, as it may block for good."""
    loop = asyncio.get_running_loop()
    taken: asyncio.Queue[pb.ClassifyStreamRequest | BaseException | None] = asyncio.Queue()

    def put(found: pb.ClassifyStreamRequest | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(taken.put_nowait, found)

    def pull() -> None:
        try:
            for element in elements:
                put(element)
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the elements are read
            put(error)

    threading.Thread(target=pull, name="covey-http-stream", daemon=True).start()
    while (found := await taken.get()) is not None:
        if isinstance(found, BaseException):
            raise found
        yield found


def open_channels(targets: Sequence[str], access: Access) -> list[BlockingChannel]:
    """One for each target, on one thread. Raises Failure where TLS cannot be used."""
    thread = LoopThread()

    try:
        thread.channels += [HttpChannel(target, access) for target in targets]
    except BaseException:
        thread.close()
        raise
    return [BlockingChannel(channel, thread) for channel in thread.channels]
