"""A stream over HTTP: each element is a call of its own, and the answers come as they are ready.

Those who send keep few elements in flight (covey.streaming), so nothing is bounded here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine

from covey_proto.v1 import classifier_pb2 as pb

Answer = Callable[[pb.ClassifyStreamRequest], Awaitable[pb.ClassifyStreamResponse]]


class HttpStream:
    """As a call of grpc.aio: an iterator over answers, which ends when all elements are answered. Raises what `answer`
    raises, CancelledError after `cancel`."""

    def __init__(self, elements: AsyncIterable[pb.ClassifyStreamRequest], answer: Answer) -> None:
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: asyncio.Queue[pb.ClassifyStreamResponse | BaseException] = asyncio.Queue()
        self._start(self._send(elements))

    def __aiter__(self) -> HttpStream:
        return self

    async def __anext__(self) -> pb.ClassifyStreamResponse:
        found = await self._ready.get()
        if isinstance(found, BaseException):
            self._ready.put_nowait(found)  # and whatever is asked later
            raise found
        return found

    def cancel(self) -> None:
        """Ends what is under way."""
        for task in list(self._tasks):
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._ready.put_nowait(error)

    async def _send(self, elements: AsyncIterable[pb.ClassifyStreamRequest]) -> None:
        async for element in elements:
            self._start(self._give(element))
        await asyncio.gather(*(self._tasks - {asyncio.current_task()}), return_exceptions=True)
        self._ready.put_nowait(StopAsyncIteration())

    async def _give(self, element: pb.ClassifyStreamRequest) -> None:
        self._ready.put_nowait(await self._answer(element))
