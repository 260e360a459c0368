"""`AsyncClient.classify_many`: images are taken in as answers are read, a few tasks send what has gathered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any

from covey import packing
from covey.packing import Item, Waiting, Window
from covey.results import Classification


async def each(images: Iterable[object] | AsyncIterable[object]) -> AsyncIterator[object]:
    """The images of either kind of iterable."""
    if isinstance(images, AsyncIterable):
        async for image in images:
            yield image
    else:
        for image in images:
            yield image


class TaskStream:
    """One run of `classify_many`. `send` sends some images as one request and settles them."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[None]], window: Window[Item]) -> None:
        self._send = send
        self._window = window
        self._waiting: Waiting[Item] = Waiting()
        self._sending: set[asyncio.Task[None]] = set()
        self._pulling: asyncio.Future[Item | None] | None = None

    async def __aenter__(self) -> TaskStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancels what is under way."""
        under_way: list[asyncio.Future[None] | asyncio.Future[Item | None]] = [*self._sending]
        if self._pulling is not None:
            under_way.append(self._pulling)
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def results(
        self, images: AsyncIterator[object], read: Callable[[object], Awaitable[Item]]
    ) -> AsyncIterator[Classification]:
        """One answer per image, in order. An image is taken from `images` only while the window has room."""

        async def pull() -> Item | None:
            async for image in images:
                return await read(image)
            return None

        window, more = self._window, True
        while more or window:
            while window.ready:
                yield window.pop().result()
            if more and not window.full and self._pulling is None:
                self._pulling = asyncio.ensure_future(pull())
            if self._pulling is None and not window:
                return
            await self._first_of(self._pulling)
            if self._pulling is not None and self._pulling.done():
                item, self._pulling = self._pulling.result(), None
                more = item is not None
                if item is not None:
                    self._put(item)

    def _put(self, item: Item) -> None:
        self._window.put(item)
        if item.outcome is None:
            self._waiting.put(item)
            if len(self._sending) < packing.REQUESTS_IN_FLIGHT:
                self._sending.add(asyncio.ensure_future(self._send_gathered()))

    async def _send_gathered(self) -> None:
        """One request of what has gathered until the loop comes to it."""
        if items := self._waiting.take():
            await self._send(items)

    async def _first_of(self, pulling: asyncio.Future[Item | None] | None) -> None:
        """Waits for the next image, or for the end of a request, whose place the next one takes."""
        under_way: list[asyncio.Future[Any]] = [*self._sending]
        if pulling is not None:
            under_way.append(pulling)
        if under_way and not (self._window.ready and pulling is None):
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        for task in [task for task in self._sending if task.done()]:
            self._sending.discard(task)
            task.result()
        while self._waiting and len(self._sending) < packing.REQUESTS_IN_FLIGHT:
            self._sending.add(asyncio.ensure_future(self._send(self._waiting.take())))
