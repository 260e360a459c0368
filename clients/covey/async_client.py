"""The client for asyncio: its channels, and the steps of a call performed by awaiting. All the rest is shared."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc

from covey import channels, forking, inputs, messages, packing, streaming
from covey.base import DEFAULT_IN_FLIGHT, DEFAULT_STREAMED, BaseClient
from covey.choosing import Action, Choice
from covey.coalescing import TaskCoalescer, TaskItem
from covey.connection import Deadline
from covey.errors import ClientClosed, CoveyError, WrongEventLoop
from covey.explaining import ExplainOptions, Explanation
from covey.messages import ClassifyOptions
from covey.packing import Item, Window
from covey.results import Classification, Model
from covey.steps import Converse, Pause, Send, Steps, Work
from covey.streaming import Exchange
from covey.streaming_tasks import TaskConversation
from covey.tasks import Source, TaskStream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covey.inputs import EncodedImage, Image

    ImageT = TypeVar("ImageT", bound=Image)

# In flight; more calls wait in the client. Servers on gRPC's own library reset calls of a connection that has many.
_MAX_CALLS_PER_CONNECTION = 512

T = TypeVar("T")
KeyT = TypeVar("KeyT")


class AsyncClient(BaseClient):
    """As Client, for asyncio: the same methods with the same meaning, awaited.

        async with covey.AsyncClient("localhost:8001") as client:
            print((await client.classify("cat.jpg")).label)

    Tasks of one event loop may share it. Files are read, and PIL images encoded, on threads.
    The settings are those of Client. Raises WrongEventLoop where it is used in another loop than before.
    """

    def _begin(self) -> None:
        self._coalescer = TaskCoalescer(self._send_shared) if self._settings()["coalesce"] else None
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the first call, to which gRPC binds a channel
        self._rules = forking.HTTP if channels.over_http(self._session.targets) else forking.GRPC_AIO
        self._channels: list[Any] = []
        self._rooms = [asyncio.Semaphore(_MAX_CALLS_PER_CONNECTION) for _ in self._session.targets]
        self._callables: dict[tuple[int, str], Callable[..., Awaitable[Any]]] = {}

    @overload
    async def classify(
        self,
        images: EncodedImage,
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
        embedding: bool = ...,
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
        embedding: bool = ...,
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
        embedding: bool = ...,
        deadline_ms: float | None = ...,
    ) -> Any: ...  # noqa: ANN401 - a list for [N, H, W, C], which the array's type does not tell

    async def classify(
        self,
        images: object,
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        embedding: bool = False,
        deadline_ms: float | None = None,
    ) -> Classification | list[Classification]:
        options = ClassifyOptions(model, version, top_k, embedding)
        if self._coalescer is not None and not inputs.is_many(images):
            if inputs.may_wait(images):
                item = await asyncio.to_thread(self._shared, TaskItem, images, options, deadline_ms)
            else:
                item = self._shared(TaskItem, images, options, deadline_ms)
            await self._coalescer.settle(item)
            return item.classification(self.target)
        return await self._run(self._session.classify(images, options, deadline_ms))

    def classify_many(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        embedding: bool = False,
        deadline_ms: float | None = None,
        in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> AsyncIterator[Classification]:
        packing.require_iterable(images)
        window: Window[Item] = Window(in_flight)
        self._deadline(deadline_ms)
        return self._stream(images, ClassifyOptions(model, version, top_k, embedding), deadline_ms, window)

    async def _stream(
        self,
        images: Iterable[Image] | AsyncIterable[Image],
        options: ClassifyOptions,
        deadline_ms: float | None,
        window: Window[Item],
    ) -> AsyncIterator[Classification]:
        size = await self._run(self._session.input_size(options, self._deadline(deadline_ms)))
        source = Source(
            images,
            lambda image: self._item(image, options, size, Item),
            lambda image: size is not None or inputs.may_wait(image),
            lambda item: self._judge(item, deadline_ms),
        )
        async with TaskStream(
            lambda items: self._run(packing.send(self._session, items, self._deadline(deadline_ms))), window
        ) as stream:
            async for classification in stream.results(source):
                yield classification

    def classify_stream(
        self,
        items: Iterable[tuple[KeyT, Image]] | AsyncIterable[tuple[KeyT, Image]],
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        embedding: bool = False,
        deadline_ms: float | None = None,
        in_flight: int = DEFAULT_STREAMED,
    ) -> AsyncIterator[tuple[KeyT, Classification]]:
        options = ClassifyOptions(model, version, top_k, embedding)
        return self._converse(items, options, deadline_ms, self._exchange(items, options, deadline_ms, in_flight))

    async def _converse(
        self,
        items: Iterable[object] | AsyncIterable[object],
        options: ClassifyOptions,
        deadline_ms: float | None,
        exchange: Exchange,
    ) -> AsyncIterator[tuple[Any, Classification]]:
        size = await self._run(self._session.input_size(options, self._deadline(deadline_ms)))
        source = Source(
            items,
            lambda pair: self._pair(pair, options, size),
            lambda pair: size is not None or inputs.may_wait(streaming.key_and_image(pair)[1]),
            lambda item: self._judge(item, deadline_ms),
        )
        async with (
            TaskConversation(
                exchange, lambda conversation: self._run(self._session.converse(conversation)), self.target
            ) as conversation,
            contextlib.aclosing(conversation.results(source)) as answers,
        ):
            async for answer in answers:
                yield answer

    async def _judge(self, item: Item, deadline_ms: float | None) -> None:
        await self._run(packing.judge(self._session, item, self._deadline(deadline_ms)))

    async def models(self, *, deadline_ms: float | None = None) -> list[Model]:
        return await self._run(self._session.models(deadline_ms))

    async def model(self, name: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Model:
        return await self._run(self._session.model(name, version, self._deadline(deadline_ms)))

    async def choose(
        self, action: Action, model: str = "", version: int = 0, *, deadline_ms: float | None = None
    ) -> Choice:
        return await self._run(self._session.choose(action, model, version, self._deadline(deadline_ms)))

    async def explain(
        self,
        image: EncodedImage | NDArray[np.uint8],
        *,
        model: str = "",
        version: int = 0,
        heat_map: bool = True,
        class_index: int | None = None,
        method: str = "",
        maps: bool | Sequence[int] = False,
        map_channels: int = 0,
        map_side: int = 0,
        unit: tuple[int, int, int, int] | None = None,
        deadline_ms: float | None = None,
    ) -> Explanation:
        options = ExplainOptions(model, version, heat_map, class_index, method, maps, map_channels, map_side, unit)
        return await self._run(self._session.explain(image, options, deadline_ms))

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
                    outcome = await (self._send(step) if isinstance(step, Send) else self._perform(step))
                except (grpc.RpcError, CoveyError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Pause | Work | Converse) -> Any:  # noqa: ANN401 - what the step gives
        match step:
            case Pause():
                return await asyncio.sleep(step.seconds)
            case Work():
                return await asyncio.to_thread(step.do)
            case Converse(place, TaskConversation() as conversation):
                return await self._open_stream(place, conversation)
            case Converse():
                raise AssertionError("a conversation of another client; this is a bug")

    async def _open_stream(self, place: int, conversation: TaskConversation) -> None:
        self._connect()
        method, metadata = messages.CLASSIFY_STREAM, self._access.metadata
        open_stream = self._channels[place].stream_stream(method.path, method.serialize, method.parse)
        try:
            with self._rules.long_call:
                await conversation.converse(
                    lambda elements: open_stream(elements, metadata=metadata), self._session.targets[place]
                )
        except asyncio.CancelledError as error:
            self._raise_if_closed(error)
            raise

    async def _send_shared(self, items: list[TaskItem], deadline: Deadline) -> None:
        await self._run(packing.send(self._session, items, deadline))

    async def _send(self, step: Send) -> Any:  # noqa: ANN401
        room, timeout_s = self._rooms[step.place], step.timeout_s
        has_room = True
        if room.locked():
            has_room, timeout_s = await _wait_for_room(room, timeout_s)
        else:
            await room.acquire()
        try:
            call = self._callables.get((step.place, step.method.path))
            if call is None or self._closed or asyncio.get_running_loop() is not self._loop:
                call = self._connected(step)
            with self._rules.long_call:
                return await call(step.request, timeout=timeout_s, metadata=self._access.metadata)
        except asyncio.CancelledError as error:
            self._raise_if_closed(error)
            raise
        finally:
            if has_room:
                room.release()

    def _raise_if_closed(self, error: asyncio.CancelledError) -> None:
        task = asyncio.current_task()
        if self._closed and not (task and task.cancelling()):  # gRPC's way to end the calls of a closed channel
            raise ClientClosed(f"{self!r} was closed during a call") from error

    def _connected(self, step: Send) -> Callable[..., Awaitable[Any]]:
        self._connect()
        method = step.method
        channel = self._channels[step.place]
        call: Callable[..., Awaitable[Any]] = channel.unary_unary(method.path, method.serialize, method.parse)
        self._callables[step.place, method.path] = call
        return call

    def _connect(self) -> None:
        """Opens the channels, the first time. Raises ClientClosed, WrongEventLoop, ForkedProcess, grpc.RpcError."""
        self._rules.require_usable()
        if self._closed:
            raise ClientClosed(f"{self!r} is closed; make a new one")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._rules.opened()
            self._channels = channels.open_async(self._session.targets, self._access)
            self._loop = loop
        if loop is not self._loop:
            raise WrongEventLoop(f"{self!r} belongs to the event loop of its first call; make one for each loop")


async def _wait_for_room(room: asyncio.Semaphore, timeout_s: float) -> tuple[bool, float]:
    """Whether it was entered in time, and how much time is left. Without any, gRPC ends the call as it does others."""
    began_s = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            await room.acquire()
    except TimeoutError:
        return False, 0.0
    return True, max(0.0, timeout_s - (time.monotonic() - began_s))
