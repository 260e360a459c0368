"""`AsyncClient.classify_many`: images are taken in as answers are read, a few tasks send what has gathered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, Generic

from covey import packing
from covey.packing import Item, ItemT, Waiting, Window
from covey.results import Classification

TURN_S = 0.001  # for so long images are taken in before the event loop gets its turn again


class Source(Generic[ItemT]):
    """The images of either kind of iterable, each read by `read`; on a thread where `waits` says that it takes long.

    `judge` settles what the server does not take.
    """

    def __init__(
        self,
        images: Iterable[object] | AsyncIterable[object],
        read: Callable[[object], ItemT],
        waits: Callable[[object], bool],
        judge: Callable[[ItemT], Awaitable[None]],
    ) -> None:
        self._read = read
        self._waits = waits
        self._judge = judge
        if isinstance(images, AsyncIterable):
            self._awaited: AsyncIterator[object] | None = aiter(images)
        else:
            self._awaited, self._plain = None, iter(images)

    def pull(self) -> ItemT | Awaitable[ItemT | None] | None:
        """The next image, or an awaitable of it where it is not at hand. None at the end."""
        if self._awaited is not None:
            return self._await(self._awaited)
        for image in self._plain:
            if self._waits(image):
                return self._read_on_thread(image)
            item = self._read(image)
            return self._judged(item) if item.is_large else item
        return None

    async def _await(self, images: AsyncIterator[object]) -> ItemT | None:
        async for image in images:
            if self._waits(image):
                return await self._read_on_thread(image)
            return await self._judged(self._read(image))
        return None

    async def _read_on_thread(self, image: object) -> ItemT:
        return await self._judged(await asyncio.to_thread(self._read, image))

    async def _judged(self, item: ItemT) -> ItemT:
        if item.is_large:
            await self._judge(item)
        return item


class TaskStream:
    """One run of `classify_many`. `send` sends some images as one request and settles them."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[None]], window: Window[Item]) -> None:
        self._send = send
        self._window = window
        self._waiting: Waiting[Item] = Waiting()
        self._sending: set[asyncio.Task[None]] = set()
        self._pulling: asyncio.Future[Item | None] | None = None
        self._more = True
        self._broken: Exception | None = None  # what sending raised
        self._failure: Exception | None = None  # what the source raised

    async def __aenter__(self) -> TaskStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancels what is under way."""
        under_way = self._under_way
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def results(self, source: Source[Item]) -> AsyncIterator[Classification]:
        """One answer per image, in order. An image is taken from `source` only while the window has room.

        What `source` raises is raised after the answers to what it gave.
        """
        window = self._window
        while self._more or window:
            while window.ready:
                yield window.pop().result()
            if self._broken is not None:
                raise self._broken
            await self._pull(source)
            if self._under_way and not (self._may_pull or window.ready):
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            self._collect()
        if self._failure is not None:
            raise self._failure

    @property
    def _may_pull(self) -> bool:
        return self._more and self._pulling is None and not self._window.full

    @property
    def _under_way(self) -> list[asyncio.Future[Any]]:
        return [*self._sending, *([] if self._pulling is None else [self._pulling])]

    async def _pull(self, source: Source[Item]) -> None:
        """Takes in what is at hand and fits the window, for no longer than a turn."""
        end_s = time.monotonic() + TURN_S
        while self._may_pull:
            try:
                pulled = source.pull()
            except Exception as error:  # noqa: BLE001 - raised at the end
                self._fail(error)
                return
            if isinstance(pulled, Item | None):
                self._take(pulled)
            else:
                self._pulling = asyncio.ensure_future(pulled)
            if time.monotonic() > end_s:
                await asyncio.sleep(0)
                return

    def _take(self, item: Item | None) -> None:
        if item is None:
            self._more = False
            return
        self._window.put(item)
        if item.outcome is None:
            self._waiting.put(item)
            self._send_more()

    def _send_more(self) -> None:
        if self._waiting and len(self._sending) < packing.REQUESTS_IN_FLIGHT:
            self._sending.add(asyncio.ensure_future(self._send_gathered()))

    async def _send_gathered(self) -> None:
        """One request of what has gathered until the loop comes to it."""
        if items := self._waiting.take():
            await self._send(items)

    def _collect(self) -> None:
        """What has ended: the place of a request goes to the next one."""
        if self._pulling is not None and self._pulling.done():
            pulled, self._pulling = self._pulling, None
            try:
                self._take(pulled.result())
            except Exception as error:  # noqa: BLE001 - raised at the end
                self._fail(error)
        for task in [task for task in self._sending if task.done()]:
            self._sending.discard(task)
            try:
                task.result()
            except Exception as error:  # noqa: BLE001 - raised after the answers that are ready
                self._broken = error
                return
            self._send_more()

    def _fail(self, error: Exception) -> None:
        """The source gives no more."""
        self._failure = error
        self._more = False
