"""The OpenAPI 3.1 document at /openapi.json. A test holds it against the routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from covey_proto import __version__
from covey_server.calls.http import HttpCall, Route, for_http
from covey_server.protocols.rest import json_text
from covey_server.protocols.rest.model_files import FILE_TYPES
from covey_server.protocols.rest.openapi.parts import STATUSES, error
from covey_server.protocols.rest.openapi.paths import paths
from covey_server.protocols.rest.openapi.schemas import schemas
from covey_server.protocols.rest.protobuf import HEALTH_PATH

_IN_PATHS = {
    "model": {"description": "the model's name", "schema": {"type": "string", "minLength": 1}},
    "file": {
        "description": "its name",
        "schema": {"type": "string", "enum": [*FILE_TYPES]},
    },
    "version": {"description": "a whole number", "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"}},
}
_GROUPS = {  # by how paths begin
    "v1": ("Images and models", "An image in, its classes out; and what is served."),
    "v2": ("Open Inference Protocol", "As clients of KServe and Triton speak it."),
    "predictions": ("TorchServe", "As TorchServe answers for an image_classifier."),
    "ping": ("TorchServe", ""),
    "covey.v1.Classifier": ("Messages of gRPC", "The same messages as over gRPC, one in and one out; the SDK's way."),
    "grpc.health.v1.Health": ("Messages of gRPC", ""),
    "": ("Operation", "For probes, Prometheus and tools."),
}
# Without a token.
_OPEN = {"/ping", "/healthz", "/readyz", "/openapi.json", "/v2/health/live", "/v2/health/ready", HEALTH_PATH}
_NO_BRACES = str.maketrans("", "", "{}")


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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Covey",
            "version": __version__,
            "description": "Image classifiers. Each answer has an X-Request-Id: the caller's, or one that was made.",
        },
        "tags": [{"name": name, "description": text} for name, text in _GROUPS.values() if text],
        "paths": {path: _completed(path, operations) for path, operations in paths().items()},
        "components": {
            "schemas": schemas(),
            "responses": {f"Error{status}": error(status) for status in STATUSES if status >= 400},
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
        found["parameters"] = [{"name": name, "in": "path", "required": True, **_IN_PATHS[name]} for name in names]
    return found
