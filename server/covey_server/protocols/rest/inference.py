"""The routes of /v2: the Open Inference Protocol over HTTP, with Triton's extensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from google.protobuf.message import Message

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.calls.call import Buffer
from covey_server.calls.http import HttpCall, HttpHandler, Route, Written, for_http
from covey_server.calls.service import Handler
from covey_server.errors import InvalidRequest
from covey_server.protocols.rest import json_text, tensors
from covey_server.protocols.rest.infer_requests import LENGTH_HEADER, read_infer, set_parameters, slow_bytes
from covey_server.protocols.rest.large_bodies import LargeBodies, aside
from covey_server.protocols.wire_format import cut_out

_OCTETS = "application/octet-stream"
_BINARY = "binary_tensor_data"  # the extension that only HTTP needs
_RAW_CONTENTS = (pb.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER,)
_LARGE_BYTES = 256 << 10  # of a message whose tensor is not copied
_ERROR_MEMBERS = ("error",)  # where clients of Triton and KServe look


class InferenceRoutes:
    """Hands over to the service inference.GRPCInferenceService."""

    def __init__(self, handlers: Mapping[str, Handler], large: LargeBodies) -> None:
        """`handlers` are the service's, by method."""
        self._handlers = handlers
        self._large = large

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
        infer = aside(self._large, self._infer, slow_bytes)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            found += (
                _route("GET", path, metadata),
                _route("GET", f"{path}/config", config),
                _route("GET", f"{path}/stats", statistics),
                _route("GET", f"{path}/ready", self._model_ready),
                _route("POST", f"{path}/infer", infer),
            )
        return tuple(found)

    def _infer(self, call: HttpCall) -> None:
        arguments = call.arguments
        message, is_binary = read_infer(
            call.payload, call.header(LENGTH_HEADER), arguments["model"], arguments.get("version", "")
        )
        write = partial(_write_binary, call) if is_binary else _write_json
        call.hand_over(self._handlers["ModelInfer"], message, write)

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


def _write_json(payload: bytes) -> bytes:
    message = pb.ModelInferResponse.FromString(payload)
    outputs = [
        f'{json_text.compact(_output(output)).decode()[:-1]},"data":{tensors.write_data(raw, output.datatype)}}}'
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    ]
    return f'{json_text.compact(_about(message)).decode()[:-1]},"outputs":[{",".join(outputs)}]}}'.encode()


def _write_binary(call: HttpCall, payload: bytes) -> Written:
    call.answer_type = _OCTETS
    cut = cut_out(payload, _RAW_CONTENTS) if len(payload) > _LARGE_BYTES else None
    raw: Sequence[Buffer]
    if cut is not None:  # parsing would copy it
        rest, start, stop = cut
        raw, message = (memoryview(payload)[start:stop],), pb.ModelInferResponse.FromString(rest)
    else:
        message = pb.ModelInferResponse.FromString(payload)
        raw = tuple(message.raw_output_contents)
    message.ClearField("raw_output_contents")
    head = _binary_head(message.SerializeToString(), tuple(map(len, raw)))
    call.answer_headers = (("Inference-Header-Content-Length", str(len(head))),)
    return b"".join((head, *raw)) if cut is None else (head, raw[0])


@lru_cache(1024)
def _binary_head(payload: bytes, sizes: tuple[int, ...]) -> bytes:
    message = pb.ModelInferResponse.FromString(payload)
    outputs = []
    for output, size in zip(message.outputs, sizes, strict=True):
        found = _output(output)
        found["parameters"] = {**found.get("parameters", {}), "binary_data_size": size}
        outputs.append(found)
    return json_text.compact({**_about(message), "outputs": outputs})


def _about(message: pb.ModelInferResponse) -> dict[str, Any]:
    found: dict[str, Any] = {"model_name": message.model_name, "model_version": message.model_version}
    if message.id:
        found["id"] = message.id
    if message.parameters:
        found["parameters"] = _parameters(message.parameters)
    return found


def _output(output: pb.ModelInferResponse.InferOutputTensor) -> dict[str, Any]:
    found: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
    if output.parameters:
        found["parameters"] = _parameters(output.parameters)
    return found


def _parameters(found: Mapping[str, pb.InferParameter]) -> dict[str, Any]:
    return {name: getattr(value, str(value.WhichOneof("parameter_choice")), None) for name, value in found.items()}
