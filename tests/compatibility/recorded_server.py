"""A server that answers what the server of 0.1.0 answered, and knows no more methods and fields than that one did."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import Message
from tests.compatibility import released

_CLASSIFY, _STREAM = "/covey.v1.Classifier/Classify", "/covey.v1.Classifier/ClassifyStream"
Key = tuple[Any, ...]


class RecordedServer(grpc.GenericRpcHandler):
    """From entering it, which gives its address, to leaving it. How images are spread over requests is the SDK's own
    business; so they are looked up one by one, and answers put together anew."""

    def __init__(self) -> None:
        self._messages = released.messages()
        self._health = b""
        self._whole: dict[Key, Message] = {}  # answers of other methods
        self._results: dict[Key, tuple[Message, Message]] = {}  # of an image, with the response that it was part of
        self._failures: dict[Key, grpc.StatusCode] = {}
        self._tokens: set[str] = set()
        for call in json.loads(released.CALLS.read_text()):
            self._learn(call)

    def __enter__(self) -> str:
        self._server = grpc.server(ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return f"127.0.0.1:{port}"

    def __exit__(self, *error: object) -> None:
        self._server.stop(None).wait()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        path = details.method
        if "Classifier" in path and released.request_and_response(path)[0] not in self._messages:
            return None  # UNIMPLEMENTED
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._answer(path, requests, context))

    def _learn(self, call: dict[str, Any]) -> None:
        requests, responses = ([base64.b64decode(each) for each in call[name]] for name in ("requests", "responses"))
        path, status = call["path"], call.get("status")
        if status == "UNAUTHENTICATED":
            return
        self._tokens.update(value for name, value in call["metadata"] if name == "authorization")
        if "Classifier" not in path:
            self._health = responses[0]
            return
        asked, answered = released.request_and_response(path)
        sent: list[Any] = [self._messages[asked].FromString(each) for each in requests]
        if status is not None:
            self._failures[_key(path, sent[0])] = grpc.StatusCode[status]
            return
        got: list[Any] = [self._messages[answered].FromString(each) for each in responses]
        if path == _STREAM:
            by_id: dict[str, Any] = {each.id: each.response for each in got}
            pairs: Iterable[tuple[Any, Any]] = [(each.request, by_id[each.id]) for each in sent]
        elif path == _CLASSIFY:
            pairs = zip(sent, got, strict=True)
        else:
            self._whole[_key(path, sent[0])] = got[0]
            return
        for request, response in pairs:
            for image, result in zip(_images(request), response.results, strict=True):
                self._results[_options(request), image] = result, response

    def _answer(self, path: str, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        if not self._tokens & {str(value) for _, value in context.invocation_metadata()}:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token of this server")
        if "Classifier" not in path:
            list(requests)
            yield self._health
            return
        kind = self._messages[released.request_and_response(path)[0]]
        for each in requests:
            message: Any = kind.FromString(each)
            message.DiscardUnknownFields()  # that is what a server does which does not know them
            key = _key(path, message)
            if key in self._failures:
                context.abort(self._failures[key], "as recorded")
            if path == _STREAM:
                response: Any = self._messages["ClassifyStreamResponse"](id=message.id)
                response.response.CopyFrom(self._classified(message.request))
            elif path == _CLASSIFY:
                response = self._classified(message)
            else:
                response = self._whole[key]
            yield response.SerializeToString()

    def _classified(self, request: Any) -> Message:  # noqa: ANN401 - of a class that is made while running
        found = [self._results[_options(request), image] for image in _images(request)]
        response: Any = self._messages["ClassifyResponse"]()
        response.CopyFrom(found[0][1])
        del response.results[:]
        response.results.extend(result for result, _ in found)
        return response  # type: ignore[no-any-return]


def _key(path: str, request: Message) -> Key:
    return path, request.SerializeToString(deterministic=True)


def _options(request: Any) -> Key:  # noqa: ANN401
    return request.model, request.version, request.top_k


def _images(request: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
    """Each with its kind, pixels with their shape."""
    if request.WhichOneof("images") == "encoded":
        return [(each,) for each in request.encoded.images]
    pixels = request.pixels
    size = pixels.height * pixels.width * pixels.channels
    shape = (pixels.height, pixels.width, pixels.channels)
    return [(pixels.data[start : start + size], *shape) for start in range(0, len(pixels.data), size)]
