"""How a model's file carries its ModelInfo: one entry of the ONNX `metadata_props`, as protobuf's JSON."""

from __future__ import annotations

from google.protobuf import json_format

from covey_proto.v1.classifier_pb2 import ModelInfo

KEY = "covey.model_info"


def to_json(info: ModelInfo) -> str:
    """The value of the entry named `KEY`. Enums go by number: an older Covey must see that it does not know one."""
    return json_format.MessageToJson(info, indent=None, preserving_proto_field_name=True, use_integers_for_enums=True)


def from_json(text: str) -> ModelInfo:
    """The message an entry holds. Fields of a newer Covey are passed over.

    Raises ValueError where the text is not such a message.
    """
    try:
        return json_format.Parse(text, ModelInfo(), ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(f"not the JSON of a covey.v1.ModelInfo: {error}") from error
