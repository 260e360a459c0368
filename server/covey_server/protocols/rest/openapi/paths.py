"""The paths of /openapi.json and their operations. A test holds them against the routes."""

from __future__ import annotations

from typing import Any

from covey_proto.v1 import classifier_pb2 as pb
from covey_server.calls.http import JSON
from covey_server.protocols.rest import protobuf
from covey_server.protocols.rest.openapi.parts import answering, operation, schema, whether

_FILE, _FORM = "application/octet-stream", "multipart/form-data"
_RUNS = (404, 413, 415, 422, 429, 500, 501, 503, 504)
_STRING = {"type": "string"}
_TIMEOUT = {"timeout_ms": "milliseconds that the answer may take; 0: no limit"}
_VERSION = {"version": "0: the one that is served by default"}
_EXPLAIN: dict[str, Any] = {
    "maps": (
        "what layers answer: all, or their numbers with commas",
        {"type": "string", "pattern": "^(all|[0-9]{1,4}(,[0-9]{1,4})*)$"},
    ),
    "map_channels": "of each layer the strongest so many; 0: as many as fit",
    "map_side": "larger maps are averaged down to so many rows and columns; by default 64",
    "map_bytes": "of all maps together; by default 1048576",
    "map_encoding": ("how the numbers are written", {"type": "string", "enum": ["uint8", "float32"]}),
    "heat": ("which pixels speak for a class: top, or its number", {"type": "string", "pattern": "^(top|[0-9]{1,9})$"}),
    "heat_method": ("by default the better one", {"type": "string", "enum": ["class_activation", "occlusion"]}),
    "unit": (
        "how one number comes about: LAYER,CHANNEL,Y,X",
        {"type": "string", "pattern": "^[0-9]{1,9}(,[0-9]{1,9}){3}$"},
    ),
    **_VERSION,
    **_TIMEOUT,
}
_TOP_K = {"top_k": "classes per image; by default 5"}
_EMBEDDING = {"embedding": ("whether results have the image's embedding", {"type": "boolean"})}
_CLASSIFY = {**_TOP_K, **_VERSION, **_EMBEDDING, **_TIMEOUT}
# A grey picture of one pixel: with it the examples can be sent as they are, whatever the model.
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
_INPUT = {"name": "encoded", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}}
_ANY_TEXT = {"text/plain": {"schema": _STRING}}
_EVENTS = {"text/event-stream": {"schema": _STRING}}
_FILES_OUT: dict[str, Any] = {kind: {"schema": {}} for kind in ("text/markdown", "text/html", JSON)}
_BYTES: dict[str, Any] = {"schema": {}}
_FILES = {"schema": {"type": "object", "additionalProperties": {"type": "string", "format": "binary"}}}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "bytes of the JSON, if tensors' bytes follow it",
    "schema": {"type": "integer", "minimum": 1},
}


def paths() -> dict[str, dict[str, Any]]:
    """The operations by path and method."""
    return {**_classifying(), **_choosing(), **_explaining(), **_messages(), **_inference(), **_operating()}


def _classifying() -> dict[str, dict[str, Any]]:
    in_json = schema("ImagesInJson") | {"example": {"image": _PICTURE, "top_k": 3}}
    images = {_FILE: _BYTES, _FORM: _FILES, JSON: in_json}
    classify = operation("classify images", {JSON: schema("Classified")}, _RUNS, _CLASSIFY, images)
    image = {_FILE: _BYTES, _FORM: _FILES, JSON: schema("ImageInJson") | {"example": {"data": _PICTURE}}}
    probabilities = {"schema": {"type": "object", "additionalProperties": {"type": "number"}}}
    predict = operation("classify as TorchServe does", {JSON: probabilities}, _RUNS, {**_TOP_K, **_TIMEOUT}, image)
    files = "a file beside the model"
    return {
        "/v1/models": {
            "get": operation("all models, those that are refused included", answering("ListModelsResponse"), (429,))
        },
        "/v1/models/{model}": {"get": operation("one model", answering("Model"), (404, 429), _VERSION)},
        "/v1/models/{model}/files": {
            "get": operation("which files lie beside it", answering("Files"), (404, 429), _VERSION)
        },
        "/v1/models/{model}/files/{file}": {"get": operation(files, _FILES_OUT, (404, 429), _VERSION)},
        "/v1/models/{model}/classify": {"post": classify, "put": classify},
        "/predictions/{model}": {"post": predict, "put": predict},
        "/predictions/{model}/{version}": {"post": predict, "put": predict},
    }


def _choosing() -> dict[str, dict[str, Any]]:
    texts = {
        "promote": "make a version the default one",
        "rollback": "take the canary away, or go back to the default version before",
        "canary": "give a share of the callers a version",
        "shadow": "run a version in the shadow of the default one",
    }
    found = {}
    for action, text in texts.items():
        query = None if action == "rollback" else {"version": "its number; of canary and shadow 0: none any more"}
        made = operation(text, answering("ChooseVersionResponse"), (404, 409, 413, 429, 503), query)
        for each in made.get("parameters", ()):
            each["required"] = True
        found[f"/v1/models/{{model}}/{action}"] = {"post": made}
    return found


def _explaining() -> dict[str, dict[str, Any]]:
    image = {_FILE: _BYTES, _FORM: _FILES, JSON: schema("ImageToExplain") | {"example": {"image": _PICTURE}}}
    answer = answering("ExplainResponse")
    explain = operation("look inside a model with one image", answer, _RUNS, _EXPLAIN, image)
    layers = operation("a model's layers", answer, _RUNS, {**_VERSION, **_TIMEOUT})
    path = "/v1/models/{model}"
    return {f"{path}/layers": {"get": layers}, f"{path}/explain": {"post": explain, "put": explain}}


def _messages() -> dict[str, dict[str, Any]]:
    message: dict[str, Any] = dict.fromkeys(protobuf.KINDS, _BYTES)
    service = pb.DESCRIPTOR.services_by_name["Classifier"]
    paths = {
        f"/{service.full_name}/{method.name}": {
            "post": operation(f"gRPC's {method.name}: a message for a message", message, _RUNS, _TIMEOUT, message)
        }
        for method in service.methods
        if not method.client_streaming
    }
    check = operation("gRPC's health check: a message for a message", message, (413, 415, 429), body=message)
    return {**paths, protobuf.HEALTH_PATH: {"post": check}}


def _inference() -> dict[str, dict[str, Any]]:
    in_json = schema("InferRequest") | {"example": {"inputs": [{**_INPUT, "data": [_PICTURE]}]}}
    answer = {JSON: schema("InferAnswer"), _FILE: _BYTES}
    infer = operation(
        "infer: JSON, or JSON and the tensors' bytes", answer, _RUNS, _TIMEOUT, {JSON: in_json, _FILE: _BYTES}
    )
    infer["parameters"] = [*infer["parameters"], _HEADER_LENGTH]
    index = {JSON: schema("Index") | {"example": {"ready": True}}}
    managed = {JSON: schema("Managed") | {"example": {}}}
    paths = {
        "/v2": {
            "get": operation("the server's name, version, extensions", answering("ServerMetadataResponse"), (429,))
        },
        "/v2/health/live": {"get": whether("the process works", "ServerLiveResponse")},
        "/v2/health/ready": {"get": whether("requests are taken", "ServerReadyResponse")},
        "/v2/models/stats": {
            "get": operation("what all models have done", answering("ModelStatisticsResponse"), (429,))
        },
        "/v2/repository/index": {"post": operation("all models", {JSON: schema("Models")}, (413, 429), body=index)},
    }
    for action in ("load", "unload"):
        statuses = (404, 409, 413, 415, 429, 500, 501, 503)
        paths[f"/v2/repository/models/{{model}}/{action}"] = {
            "post": operation(f"{action} a model", {}, statuses, body=managed)
        }
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        metadata, statistics = answering("ModelMetadataResponse"), answering("ModelStatisticsResponse")
        config = answering("ModelConfig")
        paths[path] = {"get": operation("a model's tensors", metadata, (404, 429))}
        paths[f"{path}/config"] = {"get": operation("a model as a Triton configuration", config, (404, 429))}
        paths[f"{path}/stats"] = {"get": operation("what a model has done", statistics, (404, 429))}
        paths[f"{path}/ready"] = {"get": whether("the model is ready", "ModelReady")}
        paths[f"{path}/infer"] = {"post": infer}
    return paths


def _operating() -> dict[str, dict[str, Any]]:
    return {
        "/ping": {"get": whether("requests are taken", "Ping", ())},
        "/healthz": {"get": operation("whether the process works", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/readyz": {"get": operation("whether requests are taken", _ANY_TEXT, (503,), failing=_ANY_TEXT)},
        "/metrics": {"get": operation("metrics for Prometheus", _ANY_TEXT, (429, 503))},
        "/v1/about": {"get": operation("the server's version and its port of gRPC", answering("About"), ())},
        "/v1/watch": {"get": operation("figures each second, as server-sent events", _EVENTS, (429, 503))},
        "/openapi.json": {"get": operation("this document", {JSON: {"schema": {"type": "object"}}}, ())},
    }
