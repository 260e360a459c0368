"""JSON in: read within limits. JSON out: messages as JSON, with the names and the numbers that they have."""

from __future__ import annotations

import binascii
import json
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from covey_server.errors import InvalidRequest, RequestTooLarge
from covey_server.system.threads import with_pauses

MAX_JSON_BYTES = 8 << 20  # of text; while it is parsed no other thread runs: 7 ms for one long string
MAX_JSON_VALUES = 262_144  # an image of 224 x 224 x 3 has 150,528; reading as many takes 20 to 100 ms
MAX_JSON_MEMBERS = 16_384  # reading as many takes 14 ms, with each its name; no request needs more than a few hundred
# Of a whole number. Python's own limit is 4,300, and 8 MiB of such numbers take 160 ms. For the whole process, which
# reads no other numbers as long.
sys.set_int_max_str_digits(640)
_SMALL_BYTES = 65_536
_PIECE = 1 << 18  # bytes: up to 1 ms for each character
_SHOWN = 64


def read_object(body: bytes) -> dict[str, Any]:
    """A body that is one JSON object. Raises InvalidRequest, RequestTooLarge."""
    if len(body) > MAX_JSON_BYTES:
        raise RequestTooLarge(
            f"the JSON has {len(body):,} bytes, at most {MAX_JSON_BYTES:,} are read here; send files as multipart, or "
            f"numbers by the binary extension",
            refused_for="message_size",
        )
    if len(body) > _SMALL_BYTES:
        if _has_more(body, b",[{", MAX_JSON_VALUES):
            raise InvalidRequest(
                f"the JSON holds more than {MAX_JSON_VALUES:,} values; send files in base64, or numbers by the binary "
                f"extension"
            )
        if _has_more(body, b":", MAX_JSON_MEMBERS):
            raise InvalidRequest(f"the JSON holds more than {MAX_JSON_MEMBERS:,} members; no request needs as many")
    try:
        found = json.loads(body, parse_float=_fraction) if len(body) > _SMALL_BYTES else json.loads(body)
    except RecursionError:
        raise InvalidRequest("the JSON is nested too deeply to be read") from None
    except ValueError as error:  # json's own, or of bytes that are no text
        raise InvalidRequest(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidRequest(f"the JSON is {kind_of(found)}; expected an object")
    return found


def _fraction(text: str) -> float:
    """As `float`, which takes up to 75 ms for all that may be there. While the parser is in Python, other threads may
    run; for whole numbers, which take a sixth of that, it would double the time."""
    return float(text)


def _has_more(body: bytes, characters: bytes, limit: int) -> bool:
    """Whether there are more than `limit` of these characters. Reads no further than it must: no other thread runs
    while a piece is read."""
    count = 0
    for start in with_pauses(range(0, len(body), _PIECE)):
        count += sum(body.count(character, start, start + _PIECE) for character in characters)
        if count > limit:
            return True
    return False


def require_known(found: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    """Raises InvalidRequest for a member that nobody reads: it may be a misspelled one."""
    for name in found:
        if name not in known:
            raise InvalidRequest(f"{what} has the member {name[:_SHOWN]!r}; expected {', '.join(map(repr, known))}")


def kind_of(value: object) -> str:
    """What a value is, for error messages."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


@lru_cache(4096)
def quoted(text: str) -> str:
    """A string as JSON."""
    return json.dumps(text)


def compact(value: object) -> bytes:
    """Any value as JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def as_dict(message: Message) -> dict[str, Any]:
    """A message with its fields' own names; whole numbers stay numbers, bytes become base64, and what is 0 or empty is
    shown too."""
    found: dict[str, Any] = {}
    for name, has_presence, convert in _fields_of(message.DESCRIPTOR):
        if not has_presence or message.HasField(name):
            value = getattr(message, name)
            found[name] = value if convert is None else convert(value)
    return found


Convert: TypeAlias = Callable[[Any], Any]


@cache
def _fields_of(kind: Any) -> tuple[tuple[str, bool, Convert | None], ...]:  # noqa: ANN401 - descriptors are of two types
    """A message's fields, whether they can be unset, and what makes JSON of their values; None: they are that already.
    Asking descriptors takes far longer than reading values."""
    return tuple((field.name, field.has_presence, _convert(field)) for field in kind.fields)


def _convert(field: Any) -> Convert | None:  # noqa: ANN401 - as above
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        inner = _convert_one(kind.fields_by_name["value"])
        return lambda value: {str(key): inner(value[key]) for key in sorted(value)}
    if field.is_repeated:
        one = _convert_one(field)
        return lambda value: [one(each) for each in value]
    is_plain = (
        kind is None
        and field.enum_type is None
        and field.cpp_type != FieldDescriptor.CPPTYPE_FLOAT
        and field.type != FieldDescriptor.TYPE_BYTES
    )
    return None if is_plain else _convert_one(field)


def _convert_one(field: Any) -> Convert:  # noqa: ANN401 - as above
    kind, enum = field.message_type, field.enum_type
    if kind is not None and kind.full_name == Timestamp.DESCRIPTOR.full_name:
        return lambda value: value.ToJsonString()
    if kind is not None:
        return as_dict
    if enum is not None:
        names = {number: each.name for number, each in enum.values_by_number.items()}
        return lambda value: names.get(value, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return lambda value: float(f"{value:.9g}")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: binascii.b2a_base64(value, newline=False).decode("ascii")
    return lambda value: value
