"""How a model's file carries its ModelInfo, and where it has one its OriginalPath: as entries of the ONNX
`metadata_props`, in protobuf's JSON."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from covey_proto.v1.classifier_pb2 import ModelInfo, OriginalPath

M = TypeVar("M", bound=Message)

KEY = "covey.model_info"
ORIGINAL_PATH_KEY = "covey.original_path"


def to_json(info: ModelInfo | OriginalPath) -> str:
    """The value of its entry. Enums go by number: an older Covey must see that it does not know one."""
    return json_format.MessageToJson(info, indent=None, preserving_proto_field_name=True, use_integers_for_enums=True)


def from_json(text: str) -> ModelInfo:
    """The message that the entry `KEY` holds. Fields of a newer Covey are passed over.

    Raises ValueError where the text is not such a message.
    """
    return _parse(text, ModelInfo())


def original_path_from_json(text: str) -> OriginalPath:
    """The message that the entry `ORIGINAL_PATH_KEY` holds. Raises ValueError as `from_json`."""
    return _parse(text, OriginalPath())


def _parse(text: str, message: M) -> M:
    try:
        return json_format.Parse(text, message, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(f"not the JSON of a {message.DESCRIPTOR.full_name}: {error}") from error
