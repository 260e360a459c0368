"""The routes of /v2: the Open Inference Protocol over HTTP, with Triton's extensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from google.protobuf.message import Message

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.calls.http import (
    HttpBurst,
    HttpCall,
    HttpHandler,
    Route,
    bursts_for_http,
    for_http,
)
from covey_server.calls.service import BurstHandler, Handler, handle
from covey_server.errors import InvalidRequest
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.infer_answers import BinaryAnswers, write_all_json, write_binary, write_json
from covey_server.protocols.rest.infer_requests import LENGTH_HEADER, read_alike, read_infer, set_parameters, slow_bytes
from covey_server.protocols.rest.large_bodies import LargeBodies, aside

_BINARY = "binary_tensor_data"  # the extension that only HTTP needs
_ERROR_MEMBERS = ("error",)  # where clients of Triton and KServe look


class InferenceRoutes:
    """Hands over to the service inference.GRPCInferenceService."""

    def __init__(
        self, handlers: Mapping[str, Handler], burst_handlers: Mapping[str, BurstHandler], large: LargeBodies
    ) -> None:
        """The handlers are the service's, by method."""
        self._handlers = handlers
        self._burst_handlers = burst_handlers
        self._large = large
        self._binary = BinaryAnswers()
        self._infer_alone = for_http(aside(large, self._infer, slow_bytes))

    @property
    def routes(self) -> tuple[Route, ...]:
        ask, ready, manage = self._ask, self._ready, self._manage
        repository = "/v2/repository/models/{model}"
        found = [
            _route("GET", "/v2/health/live", ready("ServerLive", pb.ServerLiveResponse, "live"), is_open=True),
            _route("GET", "/v2/health/ready", ready("ServerReady", pb.ServerReadyResponse, "ready"), is_open=True),
            _route("GET", "/v2", self._server),
            _route("GET", "/v2/models/stats", ask("ModelStatistics", None, pb.ModelStatisticsResponse)),
            _route("POST", "/v2/repository/index", self._index),
            _route("POST", f"{repository}/load", manage("RepositoryModelLoad", pb.RepositoryModelLoadRequest)),
            _route("POST", f"{repository}/unload", manage("RepositoryModelUnload", pb.RepositoryModelUnloadRequest)),
        ]
        metadata = ask("ModelMetadata", pb.ModelMetadataRequest, pb.ModelMetadataResponse)
        config = ask("ModelConfig", pb.ModelConfigRequest, pb.ModelConfigResponse, "config")
        statistics = ask("ModelStatistics", pb.ModelStatisticsRequest, pb.ModelStatisticsResponse)
        together = bursts_for_http(self._infer_together)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            found += (
                _route("GET", path, metadata),
                _route("GET", f"{path}/config", config),
                _route("GET", f"{path}/stats", statistics),
                _route("GET", f"{path}/ready", self._model_ready),
                Route(("POST",), f"{path}/infer", self._infer_alone, False, _ERROR_MEMBERS, together),
            )
        return tuple(found)

    def _infer(self, call: HttpCall) -> None:
        arguments = call.arguments
        message, is_binary = read_infer(
            call.payload, call.header(LENGTH_HEADER), arguments["model"], arguments.get("version", "")
        )
        call.hand_over(self._handlers["ModelInfer"], message, partial(write_binary, call) if is_binary else write_json)

    def _infer_together(self, burst: HttpBurst, at_once: bool) -> None:
        """Requests that are the same but for the tensor's bytes go on together. The others are read one by one."""
        arguments = burst.arguments
        read = read_alike(burst.payloads, burst.header(LENGTH_HEADER), arguments["model"], arguments.get("version", ""))
        if read is None:
            for call in burst.calls():
                handle(self._infer_alone, call)
            return
        messages, is_binary = read
        settle, write = (_settle_binary, self._binary.write) if is_binary else (_settle_json, write_all_json)
        burst.hand_over(self._burst_handlers["ModelInfer"], at_once, messages, settle, write)

    def _ask(
        self, method: str, request: Callable[..., Message] | None, answer: type[Message], member: str = ""
    ) -> HttpHandler:
        """Asks a method that describes something: a model, if there is a request for it. Answers with the method's
        message or one member of it."""

        def write(payload: bytes) -> bytes:
            found = json_text.as_dict(answer.FromString(payload))
            return json_text.compact(found[member] if member else found)

        def ask(call: HttpCall) -> None:
            payload = b"" if request is None else _naming(request, call)
            call.hand_over(self._handlers[method], payload, write)

        return ask

    def _server(self, call: HttpCall) -> None:
        call.hand_over(self._handlers["ServerMetadata"], b"", _write_server)

    def _ready(self, method: str, answer: type[Message], member: str) -> HttpHandler:
        def ask(call: HttpCall) -> None:
            call.hand_over(self._handlers[method], b"", partial(_write_ready, call, answer, member, {}))

        return ask

    def _model_ready(self, call: HttpCall) -> None:
        rest = {"name": call.arguments["model"]}
        write = partial(_write_ready, call, pb.ModelReadyResponse, "ready", rest)
        call.hand_over(self._handlers["ModelReady"], _naming(pb.ModelReadyRequest, call), write)

    def _index(self, call: HttpCall) -> None:
        found = _optional_object(call)
        json_text.require_known(found, ("ready",), "the JSON")
        ready = found.get("ready", False)
        if not isinstance(ready, bool):
            raise InvalidRequest(f"'ready' is {json_text.kind_of(ready)}; expected true or false")
        request = pb.RepositoryIndexRequest(ready=ready)

        def write(payload: bytes) -> bytes:
            return json_text.compact(json_text.as_dict(pb.RepositoryIndexResponse.FromString(payload))["models"])

        call.hand_over(self._handlers["RepositoryIndex"], request.SerializeToString(), write)

    def _manage(
        self, method: str, kind: type[pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest]
    ) -> HttpHandler:
        def manage(call: HttpCall) -> None:
            found = _optional_object(call)
            json_text.require_known(found, ("parameters",), "the JSON")
            request = kind(model_name=call.arguments["model"])
            set_parameters(request.parameters, found.get("parameters", {}), "the request")
            call.answer_type = ""
            call.hand_over(self._handlers[method], request.SerializeToString(), bytes)

        return manage


def _route(method: str, path: str, handler: HttpHandler, *, is_open: bool = False) -> Route:
    return Route((method,), path, for_http(handler), is_open, _ERROR_MEMBERS)


def _naming(kind: Callable[..., Message], call: HttpCall) -> bytes:
    """The request that only names a model."""
    return kind(name=call.arguments["model"], version=call.arguments.get("version", "")).SerializeToString()


def _optional_object(call: HttpCall) -> dict[str, Any]:
    return json_text.read_object(call.payload) if call.payload else {}


def _write_ready(
    call: HttpCall, answer: type[Message], member: str, rest: Mapping[str, object], payload: bytes
) -> bytes:
    good = bool(getattr(answer.FromString(payload), member))
    call.answer_status = 200 if good else 503
    return json_text.compact({**rest, member: good})


def _write_server(payload: bytes) -> bytes:
    found = json_text.as_dict(pb.ServerMetadataResponse.FromString(payload))
    found["extensions"] = sorted([*found["extensions"], _BINARY])
    return json_text.compact(found)


def _settle_json(call: HttpCall) -> None:
    call.write = write_json


def _settle_binary(call: HttpCall) -> None:
    call.write = partial(write_binary, call)
