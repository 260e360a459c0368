"""Reads protobuf's wire format field by field: what is looked at before, or in place of, the parsing of a message.

Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

_MOST_BITS = 63
_VARINT, _FIXED_64, DELIMITED, _FIXED_32 = 0, 1, 2, 5


def fields(payload: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Each field's number, and where its value begins and ends. Raises ValueError where the bytes are no message; the
    field that ends too early is given out before."""
    place = start
    while place < stop:
        key, place = varint(payload, place)
        number, wire_type = key >> 3, key & 7
        value = place
        if wire_type == DELIMITED:
            length, value = varint(payload, place)
            place = value + length
        elif wire_type == _FIXED_64:
            place += 8
        elif wire_type == _FIXED_32:
            place += 4
        elif wire_type == _VARINT:
            _, place = varint(payload, place)
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        yield number, value, min(place, stop)
    if place > stop:
        raise ValueError(f"the bytes end {place - stop} before the last field does")


def varint(payload: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends. Raises ValueError where the bytes end first, or where it is longer than
    a number can be."""
    number = shift = 0
    try:
        while (octet := payload[place]) > 0x7F:
            number |= (octet & 0x7F) << shift
            shift += 7
            place += 1
            if shift > _MOST_BITS:
                raise ValueError("a number of more than 64 bits")
    except IndexError:
        raise ValueError("the bytes end within a number") from None
    return number | octet << shift, place + 1
