"""A field cut out of a message in protobuf's wire format, whose parts are those of covey_proto."""

from __future__ import annotations

from collections.abc import Sequence

from covey_proto.wire_format import DELIMITED, fields, read_varint, write_varint


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
    for number, wire_type, first, end in fields(payload, start, stop):
        if number == path[0] and wire_type == DELIMITED:  # of another type it is a field that nobody knows
            if found is not None:
                return None
            found = place, first, end
        place = end
    if found is None:
        return None
    begin, first, end = found
    _, behind_key = read_varint(payload, begin)
    inner: tuple[bytes, int, int] | None = (b"", first, end)
    if len(path) > 1:
        inner = cut_out(payload, path[1:], first, end)
    if inner is None:
        return None
    rest = b"".join((payload[start:behind_key], write_varint(len(inner[0])), inner[0], payload[end:stop]))
    return rest, *inner[1:]
