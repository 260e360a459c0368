"""The Open Inference Protocol over HTTP/1.1: JSON, and tensors as raw bytes behind it where the server says that it
knows the binary extension.

https://github.com/kserve/open-inference-protocol, and for the extension
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from covey.errors import CallError, InvalidInput, InvalidRequest, ServerError, Unavailable, UnknownModel
from covey_load.asking import ask
from covey_load.payloads import Batch, Files
from covey_load.protocols.base import ModelInput, Protocol
from covey_load.protocols.oip import bytes_tensor, files_tensor, one_image, one_input
from covey_load.remote import Remote
from covey_load.wire.http1 import HttpRequest

_BINARY = "binary_tensor_data"  # the extension's name
_HEAD_LENGTH = "Inference-Header-Content-Length"
_ERRORS: dict[int, type[CallError]] = {400: InvalidRequest, 404: UnknownModel, 422: InvalidRequest, 503: Unavailable}


class OpenInferenceHttp(Protocol):
    calls_per_connection = 1

    def __init__(self, remote: Remote) -> None:
        super().__init__(remote)
        self._is_binary = False
        self._head_bytes: dict[bytes, int] = {}  # of binary bodies

    def describe(self, model: str) -> ModelInput:
        if not model:
            raise InvalidInput("--protocol oip-http needs the model's name: --model NAME")
        server = self._get("/v2")
        self._is_binary = _BINARY in server.get("extensions", [])
        metadata = self._get(f"/v2/models/{quote(model, safe='')}")
        inputs = metadata.get("inputs") or []
        tensor = inputs[one_input([(tensor_input["name"], tensor_input["datatype"]) for tensor_input in inputs], model)]
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        facts = {
            "server": f"{server.get('name', '')} {server.get('version', '')}".strip(),
            "model": str(metadata.get("name", model)),
            "platform": str(metadata.get("platform", "")),
            "tensors": "raw bytes" if self._is_binary else "JSON numbers",
        }
        return ModelInput(name, () if datatype == "BYTES" else one_image(name, datatype, shape, model), datatype, facts)

    def body(self, model: str, model_input: ModelInput, batch: Batch) -> bytes:
        if isinstance(batch, Files):
            name, datatype, shape = files_tensor(model_input), "BYTES", [len(batch.contents)]
            raw = bytes_tensor(batch.contents)
        else:
            name, datatype, shape = model_input.name, model_input.datatype, list(batch.array.shape)
            raw = batch.array.tobytes()
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if self._is_binary:
            tensor["parameters"] = {"binary_data_size": len(raw)}
        elif isinstance(batch, Files):
            tensor["data"] = [base64.b64encode(content).decode("ascii") for content in batch.contents]
        else:
            tensor["data"] = batch.array.ravel().tolist()
        head = json.dumps({"inputs": [tensor]}, separators=(",", ":")).encode()
        body = head + raw if self._is_binary else head
        self._head_bytes[body] = len(head)
        return body

    def requests(self, bodies: list[tuple[str, bytes]]) -> list[HttpRequest]:
        authority = self._remote.endpoint.authority
        return [
            HttpRequest(authority, self._remote.prefix + _path(model), body, number, self._headers(body))
            for number, (model, body) in enumerate(bodies)
        ]

    def check(self, model: str, body: bytes) -> None:
        self._ask("POST", _path(model), body, self._headers(body))

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        kind = [("Content-Type", "application/octet-stream"), (_HEAD_LENGTH, str(self._head_bytes[body]))]
        return [*(kind if self._is_binary else [("Content-Type", "application/json")]), *self._remote.metadata]

    def _get(self, path: str) -> dict[str, Any]:
        answer = self._ask("GET", path, None, self._remote.metadata)
        try:
            content: dict[str, Any] = json.loads(answer)
        except ValueError as error:
            raise ServerError(f"{self._remote.target}{path} answers no JSON: {answer[:80]!r}") from error
        return content

    def _ask(self, method: str, path: str, body: bytes | None, headers: Iterable[tuple[str, str]]) -> bytes:
        target = self._remote.target
        answer = ask(self._remote, method, path, body, headers)
        if answer.status != 200:
            kind = _ERRORS.get(answer.status, ServerError)
            text = answer.content[:200].decode("utf-8", "replace")
            raise kind(f"the server at {target} answers {path} with HTTP {answer.status}: {text}", target)
        return answer.content


def _path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}/infer"
