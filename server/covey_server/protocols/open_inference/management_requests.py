"""Reads the requests that load and unload a model, and refuses what else Triton allows in them."""

from __future__ import annotations

from typing import TypeAlias

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.errors import InvalidRequest, Unsupported

ManagementRequest: TypeAlias = pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest

_WITHOUT_EFFECT = {"unload_dependents"}  # no model here depends on another; Triton's client always sends it


def model_name(request: ManagementRequest) -> str:
    """The model's name. Raises InvalidRequest if there is none, Unsupported for a repository's name and for parameters,
    such as a configuration or files to load instead of those in the models folder."""
    if request.repository_name:
        raise Unsupported("this server has one models folder, which has no name; omit repository_name")
    unknown = sorted(set(request.parameters) - _WITHOUT_EFFECT)
    if unknown:
        names = ", ".join(repr(name) for name in unknown[:5])
        raise Unsupported(
            f"a model is loaded as it lies in the models folder; this server takes no parameter {names}. Publish a "
            f"version with the files or settings it should have"
        )
    if not request.model_name:
        raise InvalidRequest("the request names no model; set model_name")
    return request.model_name
