"""Protobuf's wire format, field by field, for what is done before or instead of parsing a message.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

_MAX_BITS = 63
_VARINT, _FIXED_64, DELIMITED, _FIXED_32 = 0, 1, 2, 5


def fields(payload: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yields each field's number, and where its value begins and ends. Raises ValueError if the bytes are no message,
    after it has yielded a last field that is cut off."""
    place = start
    while place < stop:
        key, place = read_varint(payload, place)
        number, wire_type = key >> 3, key & 7
        value = place
        if wire_type == DELIMITED:
            length, value = read_varint(payload, place)
            place = value + length
        elif wire_type == _FIXED_64:
            place += 8
        elif wire_type == _FIXED_32:
            place += 4
        elif wire_type == _VARINT:
            _, place = read_varint(payload, place)
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        yield number, value, min(place, stop)
    if place > stop:
        raise ValueError(f"the bytes end {place - stop} before the last field does")


def cut_out(
    payload: bytes, path: Sequence[int], start: int = 0, stop: int | None = None
) -> tuple[bytes, int, int] | None:
    """Takes a bytes field out of the message between `start` and `stop`. `path` is its field number, after those of the
    messages around it.

    Returns the message with the field empty, and where the field's bytes begin and end in `payload`; None unless the
    field is there exactly once. Raises ValueError if the bytes are no message."""
    stop = len(payload) if stop is None else stop
    found: tuple[int, int, int] | None = None  # where the field begins, and where its value begins and ends
    place = start
    for number, first, end in fields(payload, start, stop):
        if number == path[0]:
            if found is not None:
                return None
            found = place, first, end
        place = end
    if found is None:
        return None
    begin, first, end = found
    key, behind_key = read_varint(payload, begin)
    if key & 7 != DELIMITED:
        return None
    inner: tuple[bytes, int, int] | None = (b"", first, end)
    if len(path) > 1:
        inner = cut_out(payload, path[1:], first, end)
    if inner is None:
        return None
    rest = b"".join((payload[start:behind_key], write_varint(len(inner[0])), inner[0], payload[end:stop]))
    return rest, *inner[1:]


def read_varint(payload: bytes, place: int) -> tuple[int, int]:
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
