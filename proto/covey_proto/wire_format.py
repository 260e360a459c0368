"""Protobuf's wire format, field by field, for what is done before or instead of parsing a message.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from mmap import mmap

Payload = bytes | bytearray | mmap

_MAX_BITS = 63
VARINT, _FIXED_64, DELIMITED, _START_GROUP, _END_GROUP, _FIXED_32 = range(6)
_IN_GROUP = 0  # no field has this number


def fields(payload: Payload, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field's number and wire type, and where its value begins and ends.

    Groups are of no message here, so a parser skips them; what is in them is given out too, under the number 0, so that
    it is counted. Raises ValueError where the bytes are no message; the field that ends too early is given out before.
    """
    place = start
    groups: list[int] = []  # those that are open
    while place < stop:
        key, place = read_varint(payload, place)
        number, wire_type = key >> 3, key & 7
        value = place
        if not number:
            raise ValueError("a field without a number")
        if wire_type == DELIMITED:
            length, value = read_varint(payload, place)
            place = value + length
        elif wire_type == _FIXED_64:
            place += 8
        elif wire_type == _FIXED_32:
            place += 4
        elif wire_type == VARINT:
            _, place = read_varint(payload, place)
        elif wire_type == _START_GROUP:
            groups.append(number)
        elif wire_type == _END_GROUP:
            if not groups or groups.pop() != number:
                raise ValueError(f"the end of group {number}, which is not open")
            number = _IN_GROUP
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        yield _IN_GROUP if groups else number, wire_type, value, min(place, stop)
    if place > stop:
        raise ValueError(f"the bytes end {place - stop} before the last field does")
    if groups:
        raise ValueError(f"the bytes end within group {groups[-1]}")


def read_varint(payload: Payload, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends. Raises ValueError if the bytes end before it, or if it is too long."""
    number = shift = 0
    try:
        while (octet := payload[place]) > 0x7F:
            number |= (octet & 0x7F) << shift
            shift += 7
            place += 1
            if shift > _MAX_BITS:
                raise ValueError("a number of more than 64 bits")
    except IndexError:
        raise ValueError("the bytes end within a number") from None
    return number | octet << shift, place + 1


@lru_cache(1 << 14)
def write_varint(number: int) -> bytes:
    """Encodes a whole number, which is not negative."""
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def write_delimited(number: int, content: bytes) -> bytes:
    """A field of bytes; `number` is below 16."""
    return b"".join((bytes((number << 3 | DELIMITED,)), write_varint(len(content)), content))
