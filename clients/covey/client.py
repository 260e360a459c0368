"""The synchronous client: its channel, and the sending of requests. All the rest is shared with other clients."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc

from covey import messages
from covey.connection import CHANNEL_OPTIONS, DEFAULT_DEADLINE_MS, DEFAULT_TARGET, Deadline, normalised_target
from covey.errors import ClientClosed, from_rpc_error
from covey.messages import Answer, Method, RequestT, ResponseT
from covey.results import Classification, Model
from covey_proto.v1 import classifier_pb2 as pb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covey.inputs import EncodedImage, Image

    ImageT = TypeVar("ImageT", bound=Image)


class Client:
    """A connection to one Covey server, made at the first call and again when lost. Threads may share it.

        with covey.Client("localhost:8001") as client:
            print(client.classify("cat.jpg").label)

    `target` is the server's `host:port` (or what else gRPC takes: `dns:///host:port`, `unix:path`),
    `deadline_ms` how long a call may take where it does not say so itself.

    Every method raises a CallError where the call fails (see covey.errors), ClientClosed after `close`.
    """

    def __init__(self, target: str = DEFAULT_TARGET, *, deadline_ms: float = DEFAULT_DEADLINE_MS) -> None:
        self.target = normalised_target(target)
        self.deadline_ms = Deadline(deadline_ms).duration_ms
        self._closed = False
        self._channel = grpc.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        self._classify = self._callable(messages.CLASSIFY)
        self._list_models = self._callable(messages.LIST_MODELS)
        self._get_model = self._callable(messages.GET_MODEL)

    @overload
    def classify(
        self,
        images: EncodedImage,
        *,
        model: str = ...,
        version: int = ...,
        top_k: int | None = ...,
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
        deadline_ms: float | None = ...,
    ) -> Any: ...  # noqa: ANN401 - a list for [N, H, W, C], which the array's type does not tell

    def classify(
        self,
        images: object,
        *,
        model: str = "",
        version: int = 0,
        top_k: int | None = None,
        deadline_ms: float | None = None,
    ) -> Classification | list[Classification]:
        """Classifies one image, or a list of them, with one model.

        An image is a path, the bytes of an image file, a PIL image (sent as PNG), or a uint8 NumPy array
        `[H, W]` or `[H, W, C]` of exactly the model's size; all the others are resized by the server.
        One image is answered by a Classification. A list or tuple of images, or one array `[N, H, W, C]`, is
        answered by a list of them in the same order, and travels as one request; as two where it mixes arrays
        with the other kinds. `deadline_ms` holds for both.

        `model` is a name, empty for the server's default model; `version` 0 is the highest; `top_k` is how
        many classes to answer per image, by default 5 or all if there are fewer.

        Raises InvalidInput (also a ValueError) where the arguments cannot be sent, CallError where the call
        fails as a whole, InvalidImage or ImageTooLarge where a single image cannot be classified. In a list
        that error stands in the image's own Classification, and the others are answered.
        """
        deadline = self._deadline(deadline_ms)
        call = messages.Classify(images, model, version, top_k)
        return call.results([self._timed(request, deadline) for request in call.requests])

    def models(self, *, deadline_ms: float | None = None) -> list[Model]:
        """Every model the server knows, by name and version; those it refuses to serve, and why, included."""
        request = messages.list_models_request()
        response = self._send(self._list_models, request, self._deadline(deadline_ms))
        return [messages.model(model) for model in response.models]

    def model(self, name: str = "", version: int = 0, *, deadline_ms: float | None = None) -> Model:
        """One model: by default the server's default model, in the version it serves by default.

        Raises UnknownModel where the server does not know it.
        """
        request = messages.get_model_request(name, version)
        response = self._send(self._get_model, request, self._deadline(deadline_ms))
        return messages.model(response.model)

    def close(self) -> None:
        """Ends the connection. Calls under way raise ClientClosed, and so does every later one."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.target!r}, deadline_ms={self.deadline_ms:g})"

    def _callable(self, method: Method[RequestT, ResponseT]) -> grpc.UnaryUnaryMultiCallable[RequestT, ResponseT]:
        return self._channel.unary_unary(method.path, method.serialize, method.parse)

    def _deadline(self, deadline_ms: float | None) -> Deadline:
        return Deadline(self.deadline_ms if deadline_ms is None else deadline_ms)

    def _timed(self, request: pb.ClassifyRequest, deadline: Deadline) -> Answer:
        sent_ns = time.perf_counter_ns()
        response = self._send(self._classify, request, deadline)
        return Answer(response, self.target, (time.perf_counter_ns() - sent_ns) // 1_000)

    def _send(
        self, call: grpc.UnaryUnaryMultiCallable[RequestT, ResponseT], request: RequestT, deadline: Deadline
    ) -> ResponseT:
        try:
            return call(request, timeout=deadline.remaining_s())
        except grpc.RpcError as error:
            if self._closed and error.code() is grpc.StatusCode.CANCELLED:
                raise ClientClosed(f"{self!r} was closed during a call") from error
            raise from_rpc_error(error, self.target, deadline.duration_ms) from error
        except ValueError as error:  # how gRPC says that a channel is closed
            raise ClientClosed(f"{self!r} is closed; make a new one") from error
