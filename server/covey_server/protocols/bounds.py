"""How many parts a message may have, counted before it is parsed.

An empty image takes 2 bytes in a message and 30 in memory; a number takes 1 byte and up to 8. Parsing 64 MB of them
would take a gigabyte, and for a second the thread that takes all calls would take none.
"""

from __future__ import annotations

from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from covey_proto.wire_format import DELIMITED, fields
from covey_server.errors import InvalidRequest

MAX_FIELDS = 65_536  # of a message and those in it; each encoded image is one
MAX_NUMBER_BYTES = 4 << 20  # of repeated numbers; pixels may be sent so, a byte or two each
SMALL_BYTES = 65_536  # a message up to this size takes a few megabytes at most: it is not counted


def require_few_parts(payload: bytes, kind: type[Message]) -> None:
    """Raises InvalidRequest for a message of far more fields or numbers than any request needs, ValueError if the bytes
    are no message."""
    descriptor: Descriptor = kind.DESCRIPTOR  # type: ignore[assignment]  # or upb's own, which is used alike
    _Walk(payload).through(0, len(payload), descriptor)


# They take as many bytes in memory as in the message; other numbers take one byte there, and up to eight in memory.
_AS_LARGE = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class _Walk:
    """Counts a message's parts, and stops at the first one too many."""

    __slots__ = ("_fields", "_number_bytes", "_payload")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._fields = 0
        self._number_bytes = 0

    def through(self, start: int, stop: int, kind: Descriptor) -> None:
        messages, numbers = _parts(kind)
        for number, wire_type, first, end in fields(self._payload, start, stop):
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise InvalidRequest(
                    f"the request of {len(self._payload):,} bytes is made of more than {MAX_FIELDS:,} fields; send "
                    f"fewer images per call"
                )
            if number in messages and wire_type == DELIMITED:
                self.through(first, end, messages[number])
            elif number in numbers:
                self._number_bytes += end - first
                if self._number_bytes > MAX_NUMBER_BYTES:
                    raise InvalidRequest(
                        f"the request has more than {MAX_NUMBER_BYTES:,} bytes of numbers; send pixels as bytes, in "
                        f"raw_input_contents, or fewer images per call"
                    )


@cache
def _parts(kind: Descriptor) -> tuple[dict[int, Descriptor], frozenset[int]]:
    """A message's fields that are messages themselves, and those that are numbers, each of which may hold many."""
    messages = {field.number: field.message_type for field in kind.fields if field.message_type is not None}
    others = {field.number for field in kind.fields if field.cpp_type not in _AS_LARGE}
    return messages, frozenset(others - messages.keys())
