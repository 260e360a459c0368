"""The parts that /openapi.json is put together from: operations, their statuses and parameters, and schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from covey_server.calls.http import JSON

_PROBLEM = "application/problem+json"
STATUSES = {
    200: "the answer",
    400: "the request contradicts itself, the model or the protocol",
    401: "the server wants a token, and the request brought none that is valid",
    403: "a page of another origin, or loading, unloading and choosing models is not allowed",
    404: "the model, the version or the path is not served",
    408: "the request came too slowly",
    409: "the model was found and refused",
    413: "the request, an image or the answer is too large",
    415: "the body is compressed or of a type that is not read",
    421: "the server was called by a name that is not among those of --allowed-host",
    422: "the image cannot be read",
    429: "too much waits already; Retry-After says when there should be room",
    431: "the headers are too large",
    500: "the server failed",
    501: "a feature that this server does not have",
    503: "the server starts, stops, or does not work",
    504: "the deadline passed, or cannot be met",
}
_ALWAYS = (400, 401, 403, 408, 421, 431)
_COUNT = {"type": "integer", "minimum": 0}
_LIMITS = {
    "top_k": (1, 2**32 - 1), "version": (0, 2**63 - 1), "timeout_ms": (0, 10**9), "map_channels": (0, 2**32 - 1),
    "map_side": (0, 512), "map_bytes": (0, 8 << 20),
}  # fmt: skip
_RETRY = {
    "Retry-After": {"description": "seconds", "schema": _COUNT},
    "Retry-After-Ms": {"description": "milliseconds", "schema": _COUNT},
}


def operation(
    summary: str, answer: Mapping[str, Any], statuses: Sequence[int], query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None, failing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """An operation of a path. `failing`: what a status of 503 answers with, if not with a problem. `query` has a text
    for each parameter, or a text and a schema; without it is a whole number."""
    responses: dict[str, Any] = {"200": {"description": STATUSES[200], **({"content": answer} if answer else {})}}
    for status in sorted({*_ALWAYS, *statuses}):
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    if failing is not None:
        unready = error(503)
        responses["503"] = {**unready, "content": {**unready["content"], **failing}}
    found: dict[str, Any] = {"summary": summary, "responses": responses}
    if query:
        found["parameters"] = [
            {"name": name, "in": "query", "description": text, "schema": form}
            for name, said in query.items()
            for text, form in (said if isinstance(said, tuple) else (said, number(name)),)
        ]
    if body:
        found["requestBody"] = {"content": dict(body)}
    return found


def error(status: int) -> dict[str, Any]:
    """The answer with a status from 400 on."""
    content = {_PROBLEM: schema("Problem")}
    return {"description": STATUSES[status], "content": content, **({"headers": _RETRY} if status == 429 else {})}


def whether(what: str, answer: str, statuses: Sequence[int] = (429,)) -> dict[str, Any]:
    """A probe, whose answer's form is the same whether it is so or not."""
    content = answering(answer)
    return operation(f"whether {what}", content, (*statuses, 503), failing=content)


def answering(name: str) -> dict[str, Any]:
    """An answer in JSON, of the named schema."""
    return {JSON: schema(name)}


def number(name: str) -> dict[str, Any]:
    """The schema of a parameter that is a whole number."""
    minimum, maximum = _LIMITS[name]
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def schema(name: str) -> dict[str, Any]:
    """A body of the named schema."""
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def members(properties: Mapping[str, Any], required: Sequence[str] = (), *, closed: bool = False) -> dict[str, Any]:
    """An object's schema. `closed`: other members are refused."""
    found: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        found["required"] = list(required)
    if closed:
        found["additionalProperties"] = False
    return found


def array(items: Mapping[str, Any], max_items: int | None = None) -> dict[str, Any]:
    """A list's schema."""
    return {"type": "array", "items": dict(items), **({} if max_items is None else {"maxItems": max_items})}
