"""The OpenAPI 3.1 document at /openapi.json. A test holds it against the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covey_proto import __version__
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.http import JSON, HttpCall, Route, for_http
from covey_server.protocols.rest import json_text, protobuf

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
_INTEGER, _STRING, _OBJECT = {"type": "integer"}, {"type": "string"}, {"type": "object"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}
_TIMEOUT = {"timeout_ms": "milliseconds that the answer may take; 0: no limit"}
_VERSION = {"version": "0: the highest that is served"}
_CLASSIFY = {"top_k": "classes per image; by default 5", **_VERSION, **_TIMEOUT}


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
    paths = {**_classifying(), **_messages(), **_inference(), **_operating()}
    for path, operations in paths.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        if names:
            operations["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": _STRING} for name in names
            ]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Covey", "version": __version__, "description": "Image classifiers; see docs/http.md"},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _classifying() -> dict[str, dict[str, Any]]:
    images = {_FILE: _BYTES, _FORM: _FILES, JSON: _schema("ImagesInJson")}
    classify = _operation("classify images", {JSON: _schema("Classified")}, _RUNS, _CLASSIFY, images)
    image = {_FILE: _BYTES, _FORM: _FILES, JSON: _schema("ImageInJson")}
    probabilities = {"schema": {"type": "object", "additionalProperties": {"type": "number"}}}
    predict = _operation("classify as TorchServe does", {JSON: probabilities}, _RUNS, _TIMEOUT, image)
    return {
        "/v1/models": {"get": _operation("all models, those that are refused included", _ANY_JSON, (429,))},
        "/v1/models/{model}": {"get": _operation("one model", _ANY_JSON, (404, 429), _VERSION)},
        "/v1/models/{model}/classify": {"post": classify, "put": classify},
        "/predictions/{model}": {"post": predict, "put": predict},
        "/predictions/{model}/{version}": {"post": predict, "put": predict},
    }


def _messages() -> dict[str, dict[str, Any]]:
    message: dict[str, Any] = dict.fromkeys(protobuf.KINDS, _BYTES)
    service = pb.DESCRIPTOR.services_by_name["Classifier"]
    paths = {
        f"/{service.full_name}/{method.name}": {
            "post": _operation(f"gRPC's {method.name}: a message for a message", message, _RUNS, _TIMEOUT, message)
        }
        for method in service.methods
        if not method.client_streaming
    }
    check = _operation("gRPC's health check: a message for a message", message, (413, 415, 429), body=message)
    return {**paths, protobuf.HEALTH_PATH: {"post": check}}


def _inference() -> dict[str, dict[str, Any]]:
    body = {JSON: _schema("InferRequest"), _FILE: _BYTES}
    answer = {JSON: _schema("InferAnswer"), _FILE: _BYTES}
    infer = _operation("infer: JSON, or JSON and the tensors' bytes", answer, _RUNS, _TIMEOUT, body)
    index = {JSON: _schema("Index")}
    paths = {
        "/v2": {"get": _operation("the server's name, version and extensions", _ANY_JSON, (429,))},
        "/v2/health/live": {"get": _operation("whether the process works", _ANY_JSON, (429, 503), failing=_ANY_JSON)},
        "/v2/health/ready": {"get": _operation("whether requests are taken", _ANY_JSON, (429, 503), failing=_ANY_JSON)},
        "/v2/models/stats": {"get": _operation("what all models have done", _ANY_JSON, (429,))},
        "/v2/repository/index": {"post": _operation("all models", _ANY_JSON, (413, 429), body=index)},
    }
    for action in ("load", "unload"):
        statuses = (404, 409, 413, 415, 429, 500, 501, 503)
        paths[f"/v2/repository/models/{{model}}/{action}"] = {
            "post": _operation(f"{action} a model", {}, statuses, body={JSON: {"schema": _OBJECT}})
        }
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        paths[path] = {"get": _operation("a model's tensors", _ANY_JSON, (404, 429))}
        paths[f"{path}/config"] = {"get": _operation("a model as a Triton configuration", _ANY_JSON, (404, 429))}
        paths[f"{path}/stats"] = {"get": _operation("what a model has done", _ANY_JSON, (404, 429))}
        paths[f"{path}/ready"] = {"get": _operation("whether it is ready", _ANY_JSON, (429, 503), failing=_ANY_JSON)}
        paths[f"{path}/infer"] = {"post": infer}
    return paths


def _operating() -> dict[str, dict[str, Any]]:
    return {
        "/ping": {"get": _operation("whether requests are taken", _ANY_JSON, (503,), failing=_ANY_JSON)},
        "/healthz": {"get": _operation("whether the process works", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/readyz": {"get": _operation("whether requests are taken", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/metrics": {"get": _operation("metrics for Prometheus", _ANY_TEXT, (429, 503))},
        "/openapi.json": {"get": _operation("this document", _ANY_JSON, ())},
    }


def _schemas() -> dict[str, Any]:
    tensors = {"inputs": {"type": "array", "items": _OBJECT}, "outputs": {"type": "array", "items": _OBJECT}}
    probability = _members({"label": _STRING, "index": _INTEGER, "probability": {"type": "number"}})
    failure = _members({"reason": _STRING, "message": _STRING})
    result = _members({"classes": {"type": "array", "items": probability}, "error": failure})
    problem = dict.fromkeys(("type", "title", "detail", "grpc_status", "request_id"), _STRING)
    answer = {"results": {"type": "array", "items": result}, "model": _STRING, "version": _INTEGER, "timing": _OBJECT}
    images = {"image": _BASE64, "images": {"type": "array", "items": _BASE64}, "top_k": _INTEGER, "version": _INTEGER}
    about = {"model_name": _STRING, "model_version": _STRING, "id": _STRING}
    return {
        "Problem": _members({**problem, "status": _INTEGER}, ("type", "title", "status", "detail")),
        "Classified": _members(answer, tuple(answer)),
        "ImagesInJson": _members(images),
        "ImageInJson": _members({"data": _BASE64, "body": _BASE64}),
        "Index": _members({"ready": {"type": "boolean"}}),
        "InferRequest": _members({"id": _STRING, "parameters": _OBJECT, **tensors}, ("inputs",)),
        "InferAnswer": _members({**about, **tensors}, ("outputs",)),
    }


_ANY_JSON: dict[str, Any] = {JSON: {"schema": {}}}
_ANY_TEXT = {"text/plain": {"schema": _STRING}}
_BYTES: dict[str, Any] = {"schema": {}}
_FILES = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}


def _operation(
    summary: str, answer: Mapping[str, Any], statuses: Sequence[int], query: Mapping[str, str] | None = None,
    body: Mapping[str, Any] | None = None, failing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`failing`: what a status of 503 answers with, if not with a problem."""
    responses: dict[str, Any] = {"200": {"description": _STATUSES[200], **({"content": answer} if answer else {})}}
    for status in sorted({*_ALWAYS, *statuses}):
        content = {_PROBLEM: _schema("Problem")}
        if status == 503 and failing is not None:
            content |= failing
        responses[str(status)] = {"description": _STATUSES[status], "content": content}
    found: dict[str, Any] = {"summary": summary, "responses": responses}
    if query:
        found["parameters"] = [
            {"name": name, "in": "query", "description": text, "schema": {"type": "integer", "minimum": 0}}
            for name, text in query.items()
        ]
    if body:
        found["requestBody"] = {"content": dict(body)}
    return found


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _members(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), **({"required": list(required)} if required else {})}
