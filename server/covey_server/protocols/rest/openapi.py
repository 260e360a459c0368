"""The OpenAPI 3.1 document at /openapi.json. A test holds it against the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from covey_proto import __version__
from covey_proto.inference import open_inference_pb2 as v2
from covey_proto.v1 import classifier_pb2 as v1
from covey_server.calls.http import JSON, HttpCall, Route, for_http
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.schemas import of_message

Parameter: TypeAlias = str | tuple[str, Mapping[str, Any]]

_FILE, _FORM, _PROBLEM = "application/octet-stream", "multipart/form-data", "application/problem+json"
_STATUSES = {
    200: "the answer",
    400: "the request contradicts itself, the model or the protocol",
    401: "the server wants a token, and the request brought none that is valid",
    403: "a page of another origin, or loading and unloading models is not allowed",
    404: "the model, the version or the path is not served",
    408: "the request came too slowly",
    409: "the model was found and refused",
    413: "the request, an image or the answer is too large",
    415: "the body is compressed or of a type that is not read",
    422: "the image cannot be read",
    429: "too much waits already; Retry-After says when there should be room",
    431: "the headers are too large",
    500: "the server failed",
    501: "a feature that this server does not have",
    503: "the server starts, stops, or does not work",
    504: "the deadline passed, or cannot be met",
}
_ALWAYS = (400, 401, 403, 408, 431)
_RUNS = (404, 413, 415, 422, 429, 500, 501, 503, 504)
_STRING, _OBJECT = {"type": "string"}, {"type": "object"}
_COUNT = {"type": "integer", "minimum": 0}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_TIMEOUT = {"timeout_ms": "milliseconds that the answer may take; 0: no limit"}
_VERSION = {"version": "0: the highest that is served"}
_CLASSIFY = {"top_k": "classes per image; by default 5", **_VERSION, **_TIMEOUT}
_LIMITS = {"top_k": (1, 2**32 - 1), "version": (0, 2**63 - 1), "timeout_ms": (0, 10**9)}
_IN_PATHS = {
    "model": {"description": "the model's name", "schema": {"type": "string", "minLength": 1}},
    "version": {"description": "a whole number", "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}},
}
# A grey picture of one pixel: with it the examples can be sent as they are, whatever the model.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
_INPUT = {"name": "encoded", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
_GROUPS = {  # by how paths begin
    "v1": ("Images and models", "An image in, its classes out; and what is served."),
    "v2": ("Open Inference Protocol", "As clients of KServe and Triton speak it."),
    "predictions": ("TorchServe", "As TorchServe answers for an image_classifier."),
    "ping": ("TorchServe", ""),
    "": ("Operation", "For probes, Prometheus and tools."),
}
_OPEN = {"/ping", "/healthz", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready"}  # without a token


class OpenApiRoute:
    """Answers with the document."""

    def __init__(self) -> None:
        self._document = json_text.compact(document())

    @property
    def routes(self) -> tuple[Route, ...]:
        return (Route(("GET",), "/openapi.json", for_http(self._answer), is_open=True),)

    def _answer(self, call: HttpCall) -> None:
        call.reply(self._document)


def document() -> dict[str, Any]:
    """The document."""
    paths = {**_classifying(), **_inference(), **_operating()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Covey",
            "version": __version__,
            "description": "Image classifiers. Each answer has an X-Request-Id: the caller's, or one that was made.",
        },
        "tags": [{"name": name, "description": text} for name, text in _GROUPS.values() if text],
        "paths": {path: _completed(path, operations) for path, operations in paths.items()},
        "components": {
            "schemas": _schemas(),
            "responses": {f"Error{status}": _error(status) for status in _STATUSES if status >= 400},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _completed(path: str, operations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A path's operations, each with its group and id, and what all of them have."""
    begin = path.split("/")[1]
    found: dict[str, Any] = {
        method: {
            "tags": [_GROUPS.get(begin, _GROUPS[""])[0]],
            "operationId": "_".join((method, *path.translate(_NO_BRACES).replace(".", "_").split("/")[1:])),
            **({"security": []} if path in _OPEN else {}),
            **operation,
        }
        for method, operation in operations.items()
    }
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    if names:
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, **_IN_PATHS.get(name, {"schema": _STRING})} for name in names
        ]
    return found


_NO_BRACES = str.maketrans("", "", "{}")


def _classifying() -> dict[str, dict[str, Any]]:
    in_json = _schema("ImagesInJson") | {"example": {"image": _PICTURE, "top_k": 3}}
    images = {_FILE: _BYTES, _FORM: _FILES, JSON: in_json}
    classify = _operation("classify images", {JSON: _schema("Classified")}, _RUNS, _CLASSIFY, images)
    image = {_FILE: _BYTES, _FORM: _FILES, JSON: _schema("ImageInJson") | {"example": {"data": _PICTURE}}}
    probabilities = {"schema": {"type": "object", "additionalProperties": {"type": "number"}}}
    predict = _operation("classify as TorchServe does", {JSON: probabilities}, _RUNS, _TIMEOUT, image)
    return {
        "/v1/models": {
            "get": _operation("all models, those that are refused included", _answering("ListModelsResponse"), (429,))
        },
        "/v1/models/{model}": {"get": _operation("one model", _answering("Model"), (404, 429), _VERSION)},
        "/v1/models/{model}/classify": {"post": classify, "put": classify},
        "/predictions/{model}": {"post": predict, "put": predict},
        "/predictions/{model}/{version}": {"post": predict, "put": predict},
    }


def _inference() -> dict[str, dict[str, Any]]:
    in_json = _schema("InferRequest") | {"example": {"inputs": [{**_INPUT, "data": [_PICTURE]}]}}
    answer = {JSON: _schema("InferAnswer"), _FILE: _BYTES}
    infer = _operation(
        "infer: JSON, or JSON and the tensors' bytes", answer, _RUNS, _TIMEOUT, {JSON: in_json, _FILE: _BYTES}
    )
    infer["parameters"] = [*infer["parameters"], _HEADER_LENGTH]
    index = {JSON: _schema("Index") | {"example": {"ready": True}}}
    managed = {JSON: _schema("Managed") | {"example": {}}}
    paths = {
        "/v2": {
            "get": _operation("the server's name, version, extensions", _answering("ServerMetadataResponse"), (429,))
        },
        "/v2/health/live": {"get": _whether("the process works", "ServerLiveResponse")},
        "/v2/health/ready": {"get": _whether("requests are taken", "ServerReadyResponse")},
        "/v2/models/stats": {
            "get": _operation("what all models have done", _answering("ModelStatisticsResponse"), (429,))
        },
        "/v2/repository/index": {"post": _operation("all models", {JSON: _schema("Models")}, (413, 429), body=index)},
    }
    for action in ("load", "unload"):
        statuses = (404, 409, 413, 415, 429, 500, 501, 503)
        paths[f"/v2/repository/models/{{model}}/{action}"] = {
            "post": _operation(f"{action} a model", {}, statuses, body=managed)
        }
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        metadata, statistics = _answering("ModelMetadataResponse"), _answering("ModelStatisticsResponse")
        config = _answering("ModelConfig")
        paths[path] = {"get": _operation("a model's tensors", metadata, (404, 429))}
        paths[f"{path}/config"] = {"get": _operation("a model as a Triton configuration", config, (404, 429))}
        paths[f"{path}/stats"] = {"get": _operation("what a model has done", statistics, (404, 429))}
        paths[f"{path}/ready"] = {"get": _whether("the model is ready", "ModelReady")}
        paths[f"{path}/infer"] = {"post": infer}
    return paths


def _operating() -> dict[str, dict[str, Any]]:
    return {
        "/ping": {"get": _whether("requests are taken", "Ping", ())},
        "/healthz": {"get": _operation("whether the process works", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/readyz": {"get": _operation("whether requests are taken", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/metrics": {"get": _operation("metrics for Prometheus", _ANY_TEXT, (429, 503))},
        "/openapi.json": {"get": _operation("this document", {JSON: {"schema": _OBJECT}}, ())},
    }


_MESSAGES = {
    message.DESCRIPTOR.name: message
    for message in (
        v1.ListModelsResponse, v1.Model, v2.ServerMetadataResponse, v2.ServerLiveResponse, v2.ServerReadyResponse,
        v2.ModelMetadataResponse, v2.ModelStatisticsResponse, v2.ModelConfig,
    )
}  # fmt: skip


def _schemas() -> dict[str, Any]:
    text = {"type": "string"}
    tensor = {"name": text, "datatype": text, "shape": {"type": "array", "items": {"type": "integer"}}}
    some = {"parameters": _OBJECT, "data": {"type": "array"}}
    requested = _members({"name": text, "parameters": _OBJECT}, ("name",))
    about = {"id": text, "parameters": _OBJECT}
    versioned = {"model_name": text, "model_version": text}
    problem = dict.fromkeys(("title", "detail", "grpc_status", "request_id"), text)
    result = of_message(v1.Result)  # has either member
    settings = {"top_k": _number("top_k"), "version": _number("version")}
    value = {"type": ["boolean", "integer", "string"], "minimum": -(2**63), "maximum": 2**63 - 1}
    parameters = {"type": "object", "additionalProperties": value}
    classified = of_message(v1.ClassifyResponse)["properties"] | {"results": _array({**result, "required": []})}
    entry = v2.RepositoryIndexResponse.ModelIndex
    return {
        "Problem": _members({"type": text, **problem, "status": {"type": "integer"}}, ("type", *problem, "status")),
        "Classified": _members(classified, ("results", "model", "version", "timing")),
        "ImagesInJson": _members({"image": _BASE64, "images": _array(_BASE64, 4096), **settings}, closed=True)
        | {"oneOf": [{"required": ["image"]}, {"required": ["images"]}]},
        "ImageInJson": _members({"data": _BASE64, "body": _BASE64}, closed=True)
        | {"minProperties": 1, "maxProperties": 1},
        "Index": _members({"ready": {"type": "boolean"}}, closed=True),
        "Models": _array(of_message(entry)),
        "Managed": _members({"parameters": parameters}, closed=True),
        "ModelReady": _members({"name": text, "ready": {"type": "boolean"}}, ("name", "ready")),
        "Ping": _members({"status": {"type": "string", "enum": ["Healthy", "Unhealthy"]}}, ("status",)),
        "InferRequest": _members(
            {
                **about,
                "inputs": _array(_members({**tensor, **some}, tuple(tensor)), 64),
                "outputs": _array(requested, 64),
            },
            ("inputs",),
        ),
        "InferAnswer": _members(
            {**versioned, **about, "outputs": _array(_members({**tensor, **some}, tuple(tensor)))},
            (*versioned, "outputs"),
        ),
        **{name: of_message(message) for name, message in _MESSAGES.items()},
    }


_ANY_TEXT = {"text/plain": {"schema": _STRING}}
_BYTES: dict[str, Any] = {"schema": {}}
_FILES = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "bytes of the JSON, if tensors' bytes follow it",
    "schema": {"type": "integer", "minimum": 1},
}
_RETRY = {
    "Retry-After": {"description": "seconds", "schema": _COUNT},
    "Retry-After-Ms": {"description": "milliseconds", "schema": _COUNT},
}


def _operation(
    summary: str, answer: Mapping[str, Any], statuses: Sequence[int], query: Mapping[str, Parameter] | None = None,
    body: Mapping[str, Any] | None = None, failing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`query`: its parameters' texts, of those that are no numbers with their schemas. `failing`: what a status of 503
    answers with, if not with a problem."""
    responses: dict[str, Any] = {"200": {"description": _STATUSES[200], **({"content": answer} if answer else {})}}
    for status in sorted({*_ALWAYS, *statuses}):
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    if failing is not None:
        unready = _error(503)
        responses["503"] = {**unready, "content": {**unready["content"], **failing}}
    found: dict[str, Any] = {"summary": summary, "responses": responses}
    if query:
        found["parameters"] = [
            {"name": name, "in": "query", **_described(name, parameter)} for name, parameter in query.items()
        ]
    if body:
        found["requestBody"] = {"content": dict(body)}
    return found


def _error(status: int) -> dict[str, Any]:
    content = {_PROBLEM: _schema("Problem")}
    return {"description": _STATUSES[status], "content": content, **({"headers": _RETRY} if status == 429 else {})}


def _whether(what: str, answer: str, statuses: Sequence[int] = (429,)) -> dict[str, Any]:
    """A probe, whose answer's form is the same whether it is so or not."""
    content = _answering(answer)
    return _operation(f"whether {what}", content, (*statuses, 503), failing=content)


def _answering(schema: str) -> dict[str, Any]:
    return {JSON: _schema(schema)}


def _described(name: str, parameter: Parameter) -> dict[str, Any]:
    text, schema = (parameter, _number(name)) if isinstance(parameter, str) else parameter
    return {"description": text, "schema": schema}


def _number(name: str) -> dict[str, Any]:
    minimum, maximum = _LIMITS.get(name, (0, 2**32 - 1))
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _members(properties: Mapping[str, Any], required: Sequence[str] = (), *, closed: bool = False) -> dict[str, Any]:
    """An object's schema. `closed`: other members are refused."""
    found: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def _array(items: Mapping[str, Any], most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": dict(items), **({} if most is None else {"maxItems": most})}
