"""The synchronous client: its channels, and the steps of a call performed by blocking. All the rest is shared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc

from covey import channels, forking, inputs, messages, packing
from covey.base import DEFAULT_IN_FLIGHT, DEFAULT_STREAMED, BaseClient
from covey.choosing import Action, Choice
from covey.coalescing import ThreadCoalescer, ThreadItem
from covey.connection import Deadline
from covey.errors import ClientClosed, CoveyError
from covey.explaining import ExplainOptions, Explanation
from covey.messages import ClassifyOptions
from covey.packing import Item, ItemT, Window
from covey.results import Classification, Model
from covey.steps import Converse, Pause, Send, Steps, Work
from covey.streaming import Exchange
from covey.streaming_threads import ThreadConversation
from covey.threads import ThreadStream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covey.inputs import EncodedImage, Image

    ImageT = TypeVar("ImageT", bound=Image)

T = TypeVar("T")
KeyT = TypeVar("KeyT")


class Client(BaseClient):
    """A connection to a Covey server, made at the first call and again when lost. Threads may share it.

        with covey.Client("localhost:8001") as client:
            print(client.classify("cat.jpg").label)

    `target` is the server's `host:port`, or what else gRPC takes (`dns:///name:port` for all servers behind a name,
    `unix:path`). With `http://host:8000` or `https://host` the same calls travel over HTTP, for places where gRPC does
    not pass; that needs httpx (`pip install 'covey-serve[http]'`). Several addresses of one kind, in a list or
    separated by commas, are asked in turn; those that cannot be reached are left out until they are back.
    `deadline_ms` is how long a call may take where it does not say so itself.
    `retries` is how often a call is tried again, within its deadline, where a server is not there (Unavailable) or
    says when it has room (Overloaded with `retry_after_ms`); 0 for never.
    `downscale` makes large images smaller before they are sent, to what the model makes use of; needs Pillow.
    `coalesce` lets calls of one image each, made by several threads at once, travel as one request.
    `tls` True encrypts, and checks the server's certificate; `covey.TLS(...)` says by which authority, and with which
    certificate of the client's own.
    `token` goes with each call: a str, or what gives one when called, such as `covey.TokenFile(path)`; it must be
    quick. Without TLS it is sent to other machines only where `tls=False` says that the way is safe.

    Every method raises a CallError where the call fails (see covey.errors), ClientClosed after `close`.
    """

    def _begin(self) -> None:
        self._coalescer = ThreadCoalescer(self._send_shared) if self._settings()["coalesce"] else None
        self._opening = threading.Lock()
        self._rules = forking.HTTP if channels.over_http(self._session.targets) else forking.GRPC
        self._channels: list[Any] = []  # opened at the first call: before it, a fork does no harm
        self._callables: dict[tuple[int, str], Callable[..., Any]] = {}

    @overload
    def classify(
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
    def classify(
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
    def classify(
        self,
        images: NDArray[np.uint8],
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
        embedding: bool = ...,
        deadline_ms: float | None = ...,
    ) -> Any: ...  # noqa: ANN401 - a list for [N, H, W, C], which the array's type does not tell

    def classify(
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
            item = self._shared(ThreadItem, images, options, deadline_ms)
            self._coalescer.settle(item)
            return item.classification(self.target)
        return self._run(self._session.classify(images, options, deadline_ms))

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        embedding: bool = False,
        deadline_ms: float | None = None,
        in_flight: int = DEFAULT_IN_FLIGHT,
    ) -> Iterator[Classification]:
        packing.require_iterable(images)
        window: Window[Item] = Window(in_flight)
        self._deadline(deadline_ms)
        return self._stream(images, ClassifyOptions(model, version, top_k, embedding), deadline_ms, window)

    def _stream(
        self, images: Iterable[Image], options: ClassifyOptions, deadline_ms: float | None, window: Window[Item]
    ) -> Iterator[Classification]:
        size = self._run(self._session.input_size(options, self._deadline(deadline_ms)))
        stream = ThreadStream(
            lambda items, deadline: self._run(packing.send(self._session, items, deadline)),
            lambda: self._deadline(deadline_ms),
        )
        yield from stream.results(self._judged(self._items(images, options, size), deadline_ms), window)

    def classify_stream(
        self,
        items: Iterable[tuple[KeyT, Image]],
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        embedding: bool = False,
        deadline_ms: float | None = None,
        in_flight: int = DEFAULT_STREAMED,
    ) -> Iterator[tuple[KeyT, Classification]]:
        options = ClassifyOptions(model, version, top_k, embedding)
        return self._converse(items, options, deadline_ms, self._exchange(items, options, deadline_ms, in_flight))

    def _converse(
        self, items: Iterable[object], options: ClassifyOptions, deadline_ms: float | None, exchange: Exchange
    ) -> Iterator[tuple[Any, Classification]]:
        size = self._run(self._session.input_size(options, self._deadline(deadline_ms)))
        conversation = ThreadConversation(
            exchange, lambda conversation: self._run(self._session.converse(conversation)), self.target
        )
        yield from conversation.results(self._judged(self._pairs(items, options, size), deadline_ms))

    def _judged(self, items: Iterable[ItemT], deadline_ms: float | None) -> Iterator[ItemT]:
        """`items`, each as it is asked for; those that the server does not take are settled."""
        for item in items:
            if item.is_large:
                self._run(packing.judge(self._session, item, self._deadline(deadline_ms)))
            yield item

    def models(self, *, deadline_ms: float | None = None) -> list[Model]:
        return self._run(self._session.models(deadline_ms))

    def model(self, name: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Model:
        return self._run(self._session.model(name, version, self._deadline(deadline_ms)))

    def choose(self, action: Action, model: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Choice:
        return self._run(self._session.choose(action, model, version, self._deadline(deadline_ms)))

    def explain(
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
        return self._run(self._session.explain(image, options, deadline_ms))

    def wait_until_ready(self, *, deadline_ms: float | None = None) -> None:
        self._run(self._session.wait_until_ready(deadline_ms))

    def close(self) -> None:
        """Ends the connection. Calls under way raise ClientClosed, and so does every later one."""
        self._closed = True
        with self._opening:
            opened = self._channels
        if opened:
            with self._rules.call:
                for channel in opened:
                    channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _channel(self, place: int) -> Any:  # noqa: ANN401 - gRPC's, or one that looks so
        """The channel to an address. Raises ClientClosed, grpc.RpcError."""
        if not self._channels:
            with self._opening:
                if self._closed:
                    raise ClientClosed(f"{self!r} is closed; make a new one")
                if not self._channels:
                    self._rules.opened()
                    self._channels = channels.open_blocking(self._session.targets, self._access)
        return self._channels[place]

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._perform(step)
                except (grpc.RpcError, CoveyError) as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _perform(self, step: Send | Pause | Work | Converse) -> Any:  # noqa: ANN401 - what the step gives
        match step:
            case Send():
                return self._send(step)
            case Pause():
                time.sleep(step.seconds)
                return None
            case Work():
                return step.do()
            case Converse(place, ThreadConversation() as conversation):
                return self._open_stream(place, conversation)
            case Converse():
                raise AssertionError("a conversation of another client; this is a bug")

    def _open_stream(self, place: int, conversation: ThreadConversation) -> None:
        method, metadata = messages.CLASSIFY_STREAM, self._access.metadata
        self._rules.require_usable()
        try:
            with self._rules.long_call:
                open_stream = self._channel(place).stream_stream(method.path, method.serialize, method.parse)
                conversation.converse(
                    lambda elements: open_stream(elements, metadata=metadata), self._session.targets[place]
                )
        except (grpc.RpcError, ValueError) as error:
            if self._closed:
                raise ClientClosed(f"{self!r} was closed") from error
            raise

    def _send_shared(self, items: Sequence[ThreadItem], deadline: Deadline) -> None:
        self._run(packing.send(self._session, items, deadline))

    def _send(self, step: Send) -> Any:  # noqa: ANN401
        metadata = self._access.metadata
        key = (step.place, step.method.path)
        call = self._callables.get(key)
        try:
            with self._rules.call:
                if call is None:
                    channel = self._channel(step.place)
                    call = channel.unary_unary(step.method.path, step.method.serialize, step.method.parse)
                    self._callables[key] = call
                return call(step.request, timeout=step.timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            if self._closed and error.code() is grpc.StatusCode.CANCELLED:
                raise ClientClosed(f"{self!r} was closed during a call") from error
            raise
        except ValueError as error:  # how gRPC says that a channel is closed
            raise ClientClosed(f"{self!r} is closed; make a new one") from error
