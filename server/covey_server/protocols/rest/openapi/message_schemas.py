"""JSON schemas of what json_text.as_dict makes of messages, so that /openapi.json tells what answers hold."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_UNSIGNED = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
_SIGNED = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
_NUMBERS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def of_message(kind: type[Message]) -> dict[str, Any]:
    """The schema of a message with all its fields. Messages must not hold themselves."""
    return _of_descriptor(kind.DESCRIPTOR)


def _of_descriptor(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - descriptors are of two types
    if kind.full_name == Timestamp.DESCRIPTOR.full_name:
        return {"type": "string", "format": "date-time"}
    required = [field.name for field in kind.fields if not field.has_presence]
    properties = {field.name: _of_field(field) for field in kind.fields}
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _of_field(field: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _of_value(kind.fields_by_name["value"])}
    return {"type": "array", "items": _of_value(field)} if field.is_repeated else _of_value(field)


def _of_value(field: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
    if field.message_type is not None:
        return _of_descriptor(field.message_type)
    if field.enum_type is not None:
        return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    if field.cpp_type in _UNSIGNED:
        return {"type": "integer", "minimum": 0}
    if field.cpp_type in _SIGNED:
        return {"type": "integer"}
    if field.cpp_type in _NUMBERS:
        return {"type": "number"}
    return {"type": "boolean" if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else "string"}
