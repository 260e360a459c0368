"""The client for asyncio: its channels, and the steps of a call performed by awaiting. All the rest is shared."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc
import grpc.aio

from covey import inputs, packing
from covey.base import DEFAULT_IN_FLIGHT, BaseClient
from covey.coalescing import SharedItem, TaskCoalescer
from covey.connection import CHANNEL_OPTIONS, DEFAULT_DEADLINE_MS, DEFAULT_TARGET, Deadline
from covey.errors import ClientClosed, WrongEventLoop
from covey.messages import Asked
from covey.packing import Item, Window
from covey.results import Classification, InputSize, Model
from covey.retries import DEFAULT_RETRIES
from covey.session import Pause, Send, Steps, Work
from covey.tasks import TaskStream, each

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covey.inputs import EncodedImage, Image

    ImageT = TypeVar("ImageT", bound=Image)

T = TypeVar("T")


class AsyncClient(BaseClient):
    """As Client, for asyncio: the same methods with the same meaning, awaited.

        async with covey.AsyncClient("localhost:8001") as client:
            print((await client.classify("cat.jpg")).label)

    Tasks of one event loop may share it. Files are read, and PIL images encoded, on threads.
    The settings are those of Client. Raises WrongEventLoop where it is used in another loop than before.
    """

    def __init__(
        self,
        target: str | Sequence[str] = DEFAULT_TARGET,
        *,
        deadline_ms: float = DEFAULT_DEADLINE_MS,
        retries: int = DEFAULT_RETRIES,
        downscale: bool = False,
        coalesce: bool = False,
    ) -> None:
        super().__init__(target, deadline_ms=deadline_ms, retries=retries, downscale=downscale, coalesce=coalesce)
        self._coalescer = TaskCoalescer(self._send_shared) if coalesce else None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the first call, to which gRPC binds a channel
        self._channels: list[grpc.aio.Channel] = []
        self._callables: dict[tuple[int, str], grpc.aio.UnaryUnaryMultiCallable[Any, Any]] = {}

    @overload
    async def classify(
        self,
        images: EncodedImage,
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
        deadline_ms: float | None = ...,
    ) -> Classification: ...
    @overload
    async def classify(
        self,
        images: list[ImageT] | tuple[ImageT, ...],
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
        deadline_ms: float | None = ...,
    ) -> list[Classification]: ...
    @overload
    async def classify(
        self,
        images: NDArray[np.uint8],
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
        deadline_ms: float | None = ...,
    ) -> Any: ...  # noqa: ANN401 - a list for [N, H, W, C], which the array's type does not tell

    async def classify(
        self,
        images: object,
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        deadline_ms: float | None = None,
    ) -> Classification | list[Classification]:
        asked = Asked(model, version, top_k)
        if self._coalescer is not None and not inputs.is_many(images):
            if inputs.may_wait(images):
                item = await asyncio.to_thread(self._shared, images, asked, deadline_ms)
            else:
                item = self._shared(images, asked, deadline_ms)
            await self._coalescer.settle(item)
            return item.classification(self.target)
        return await self._run(self._session.classify(images, asked, deadline_ms))

    def classify_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        deadline_ms: float | None = None,
        in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> AsyncIterator[Classification]:
        packing.require_iterable(images)
        window: Window[Item] = Window(in_flight)
        self._deadline(deadline_ms)
        return self._stream(images, Asked(model, version, top_k), deadline_ms, window)

    async def _stream(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        asked: Asked,
        deadline_ms: float | None,
        window: Window[Item],
    ) -> AsyncIterator[Classification]:
        size = await self._run(self._session.input_size(asked, self._deadline(deadline_ms)))

        async def send(items: list[Item]) -> None:
            await self._run(packing.send(self._session, items, self._deadline(deadline_ms)))

        async def read(image: object) -> Item:
            return await self._read(image, asked, size)

        async with TaskStream(send, window) as stream:
            async for classification in stream.results(each(images), read):
                yield classification

    async def _read(self, image: object, asked: Asked, size: InputSize | None) -> Item:
        if size is None and not inputs.may_wait(image):
            return self._item(image, asked, size)
        return await asyncio.to_thread(self._item, image, asked, size)

    async def models(self, *, deadline_ms: float | None = None) -> list[Model]:
        return await self._run(self._session.models(deadline_ms))

    async def model(self, name: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Model:
        return await self._run(self._session.model(name, version, self._deadline(deadline_ms)))

    async def wait_until_ready(self, *, deadline_ms: float | None = None) -> None:
        await self._run(self._session.wait_until_ready(deadline_ms))

    async def close(self) -> None:
        """Ends the connection. Calls under way raise ClientClosed, and so does every later one."""
        self._closed = True
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._perform(step)
                except (grpc.RpcError, ClientClosed) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Send | Pause | Work) -> Any:  # noqa: ANN401 - what the step gives
        match step:
            case Send():
                return await self._send(step)
            case Pause():
                return await asyncio.sleep(step.seconds)
            case Work():
                return await asyncio.to_thread(step.do)

    async def _send_shared(self, items: list[SharedItem], deadline: Deadline) -> None:
        await self._run(packing.send(self._session, items, deadline))

    async def _send(self, step: Send) -> Any:  # noqa: ANN401
        call = self._callables.get((step.place, step.method.path))
        if call is None or self._closed or asyncio.get_running_loop() is not self._loop:
            call = self._connected(step)
        try:
            return await call(step.request, timeout=step.timeout_s)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._closed and not (task and task.cancelling()):  # gRPC's way to end the calls of a closed channel
                raise ClientClosed(f"{self!r} was closed during a call") from error
            raise

    def _connected(self, step: Send) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        if self._closed:
            raise ClientClosed(f"{self!r} is closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            targets = self._session.targets
            self._channels = [grpc.aio.insecure_channel(one, options=CHANNEL_OPTIONS) for one in targets]
        if loop is not self._loop:
            raise WrongEventLoop(f"{self!r} belongs to the event loop of its first call; make one for each loop")
        method = step.method
        call = self._channels[step.place].unary_unary(method.path, method.serialize, method.parse)
        self._callables[step.place, method.path] = call
        return call
