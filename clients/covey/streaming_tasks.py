"""`AsyncClient.classify_stream`: one task takes images in, one reads answers; gRPC's own sends what has gathered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any

import grpc.aio

from covey.failures import Failure
from covey.results import Classification
from covey.streaming import Exchange, StreamItem
from covey.tasks import TURN_S, Source
from covey_proto.v1 import classifier_pb2 as pb

# What grpc.aio puts in place of the server's status where a stream ends in the midst of a write.
_LOST_STATUS = "Internal error from Core"

Call = Any  # of grpc.aio: the stubs give its kind no name
OpenStream = Callable[[AsyncIterator[pb.ClassifyStreamRequest]], Call]


class _Messages:
    """What a stream sends. No generator: the loop would have to close one that gRPC drops."""

    def __init__(self, conversation: TaskConversation) -> None:
        self._conversation = conversation
        self.ended = False  # gRPC goes on asking where a stream broke

    def __aiter__(self) -> AsyncIterator[pb.ClassifyStreamRequest]:
        return self

    async def __anext__(self) -> pb.ClassifyStreamRequest:
        message = await self._conversation.next_message(self)
        if message is None:
            raise StopAsyncIteration
        return message


class TaskConversation:
    """One run of `classify_stream`. `talk` opens streams, by `converse`, until all is answered."""

    def __init__(self, exchange: Exchange, talk: Callable[[TaskConversation], Awaitable[None]], target: str) -> None:
        self._exchange = exchange
        self._talk = talk
        self._target = target
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Future[None]] = []
        self._failure: Exception | None = None  # what the caller's iterable raised

    async def __aenter__(self) -> TaskConversation:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancels what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def answered(self) -> int:
        return self._exchange.answered

    @property
    def duration_ms(self) -> float:
        return self._exchange.duration_ms

    def remaining_s(self) -> float:
        remaining_s = self._exchange.remaining_s()
        return float("inf") if remaining_s is None else remaining_s

    async def results(self, source: Source[StreamItem]) -> AsyncGenerator[tuple[Any, Classification]]:
        """The answers as they are ready. What `source` raises is raised after the answers to what it gave."""
        self._tasks = [asyncio.ensure_future(self._take_in(source)), asyncio.ensure_future(self._talk(self))]
        for task in self._tasks:
            task.add_done_callback(lambda task: self._changed.set())
        while ready := await self._wait_for_answers():
            for item in ready:
                given = self._exchange.give(item)
                self._changed.set()
                yield given
        if self._failure is not None:
            raise self._failure

    async def converse(self, open_stream: OpenStream, target: str) -> None:
        """Sends what is to be sent by one stream, until all is answered. Raises grpc.RpcError where it breaks."""
        self._exchange.take_back()
        messages = _Messages(self)
        call = open_stream(messages)
        try:
            async for message in call:
                self._exchange.answer(message, target)
                self._changed.set()
            self._exchange.require_finished()
        except grpc.aio.AioRpcError as error:
            if error.details() != _LOST_STATUS:
                raise
            raise Failure("UNAVAILABLE", "the stream broke off") from error
        finally:
            call.cancel()  # nothing, where it ended by itself
            messages.ended = True
            self._changed.set()

    async def next_message(self, messages: _Messages) -> pb.ClassifyStreamRequest | None:
        """What is to be sent next; waits for it. None where all is answered, or the stream is broken."""
        exchange = self._exchange
        await self._until(lambda: messages.ended or exchange.has_element or exchange.finished)
        if messages.ended or exchange.finished:
            return None
        element = exchange.take_element()
        self._changed.set()  # there is a deadline to wait for now
        return element.message()

    async def _take_in(self, source: Source[StreamItem]) -> None:
        try:
            await self._take_each(source)
        except Exception as error:  # noqa: BLE001 - raised where the caller waits
            self._failure = error
        self._exchange.taken_all = True
        self._changed.set()

    async def _take_each(self, source: Source[StreamItem]) -> None:
        exchange = self._exchange
        turn_ends_s = time.monotonic() + TURN_S
        while (pulled := source.pull()) is not None:
            item = pulled if isinstance(pulled, StreamItem) else await pulled
            if item is None:
                break
            exchange.put(item)
            self._changed.set()
            await self._until(lambda: not exchange.full)
            if time.monotonic() > turn_ends_s:
                await asyncio.sleep(0)
                turn_ends_s = time.monotonic() + TURN_S

    async def _wait_for_answers(self) -> list[StreamItem]:
        """Empty at the end. Raises what ended the stream before it."""
        exchange = self._exchange
        while not (exchange.ready or exchange.finished):
            for task in self._tasks:
                if task.done():
                    task.result()
            expired = exchange.expired(self._target)
            if expired is not None:
                raise expired
            self._changed.clear()
            try:
                async with asyncio.timeout(exchange.remaining_s()):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return exchange.take_ready()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()
