"""The schemas that /openapi.json names."""

from __future__ import annotations

from typing import Any

from covey_proto.inference import open_inference_pb2 as v2
from covey_proto.v1 import classifier_pb2 as v1
from covey_server.protocols.rest.openapi.message_schemas import of_message
from covey_server.protocols.rest.openapi.parts import array, members, number

_BASE64 = {"type": "string", "contentEncoding": "base64"}
_OBJECT = {"type": "object"}
_MESSAGES = {
    message.DESCRIPTOR.name: message
    for message in (
        v1.ListModelsResponse, v1.Model, v1.ExplainResponse, v1.ChooseVersionResponse, v2.ServerMetadataResponse,
        v2.ServerLiveResponse, v2.ServerReadyResponse,
        v2.ModelMetadataResponse, v2.ModelStatisticsResponse, v2.ModelConfig,
    )
}  # fmt: skip


def schemas() -> dict[str, Any]:
    """By name."""
    text = {"type": "string"}
    tensor = {"name": text, "datatype": text, "shape": {"type": "array", "items": {"type": "integer"}}}
    some = {"parameters": _OBJECT, "data": {"type": "array"}}
    requested = members({"name": text, "parameters": _OBJECT}, ("name",))
    about = {"id": text, "parameters": _OBJECT}
    versioned = {"model_name": text, "model_version": text}
    problem = dict.fromkeys(("title", "detail", "grpc_status", "request_id"), text)
    result = of_message(v1.Result)  # has either member
    result["properties"]["embedding"] = array({"type": "number"})
    settings = {"top_k": number("top_k"), "version": number("version"), "embedding": {"type": "boolean"}}
    value = {"type": ["boolean", "integer", "string"], "minimum": -(2**63), "maximum": 2**63 - 1}
    parameters = {"type": "object", "additionalProperties": value}
    classified = of_message(v1.ClassifyResponse)["properties"] | {"results": array({**result, "required": []})}
    entry = v2.RepositoryIndexResponse.ModelIndex
    return {
        "Problem": members({"type": text, **problem, "status": {"type": "integer"}}, ("type", *problem, "status")),
        "Classified": members(classified, ("results", "model", "version", "timing")),
        "ImagesInJson": members({"image": _BASE64, "images": array(_BASE64, 4096), **settings}, closed=True)
        | {"oneOf": [{"required": ["image"]}, {"required": ["images"]}]},
        "ImageInJson": members({"data": _BASE64, "body": _BASE64}, closed=True)
        | {"minProperties": 1, "maxProperties": 1},
        "ImageToExplain": members({"image": _BASE64}, ("image",), closed=True),
        "Files": members({"files": array(text)}, ("files",)),
        "About": members(
            {"name": text, "version": text, "grpc_port": {"type": "integer"}}, ("name", "version", "grpc_port")
        ),
        "Index": members({"ready": {"type": "boolean"}}, closed=True),
        "Models": array(of_message(entry)),
        "Managed": members({"parameters": parameters}, closed=True),
        "ModelReady": members({"name": text, "ready": {"type": "boolean"}}, ("name", "ready")),
        "Ping": members({"status": {"type": "string", "enum": ["Healthy", "Unhealthy"]}}, ("status",)),
        "InferRequest": members(
            {
                **about,
                "inputs": array(members({**tensor, **some}, tuple(tensor)), 64),
                "outputs": array(requested, 64),
            },
            ("inputs",),
        ),
        "InferAnswer": members(
            {**versioned, **about, "outputs": array(members({**tensor, **some}, tuple(tensor)))},
            (*versioned, "outputs"),
        ),
        **{name: of_message(message) for name, message in _MESSAGES.items()},
    }
