"""How many parts a ModelInferRequest may be made of, looked at before it is parsed.

An empty tensor takes two bytes in a message and 90 in memory: parsing 64 MB of them would take three gigabytes and two
seconds of the thread that takes all calls. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.errors import InvalidRequest

MOST_FIELDS = 1000  # of a request and its tensors; a request of one input and one output has about ten
_SMALL_BYTES = 65_536  # what cannot take more than a few megabytes is not looked at
_MOST_BITS = 63
_FIXED_64, _DELIMITED, _FIXED_32 = 1, 2, 5
_TENSORS = (pb.ModelInferRequest.INPUTS_FIELD_NUMBER, pb.ModelInferRequest.OUTPUTS_FIELD_NUMBER)


def refuse_many_fields(payload: bytes) -> None:
    """Raises InvalidRequest for a message of far more fields than any request needs. What is no message passes: the
    parser says so."""
    if len(payload) <= _SMALL_BYTES:
        return
    left = MOST_FIELDS
    try:
        for number, start, stop in _fields(payload, 0, len(payload)):
            left -= 1 + (_count(payload, start, stop, left) if number in _TENSORS else 0)
            if left < 0:
                break
    except (IndexError, ValueError):
        return
    if left < 0:
        raise InvalidRequest(
            f"the request of {len(payload):,} bytes is made of more than {MOST_FIELDS:,} fields; expected one input, "
            f"all its images in one entry of raw_input_contents or in its contents"
        )


def _count(payload: bytes, start: int, stop: int, most: int) -> int:
    """How many fields there are; counted no further than one more than `most`."""
    count = 0
    for _ in _fields(payload, start, stop):
        count += 1
        if count > most:
            break
    return count


def _fields(payload: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Each field's number, and where its value begins and ends."""
    place = start
    while place < stop:
        key, place = _varint(payload, place)
        number, wire_type = key >> 3, key & 7
        value = place
        if wire_type == _DELIMITED:
            length, value = _varint(payload, place)
            place = value + length
        elif wire_type == _FIXED_64:
            place += 8
        elif wire_type == _FIXED_32:
            place += 4
        elif wire_type == 0:
            _, place = _varint(payload, place)
        yield number, value, min(place, stop)


def _varint(payload: bytes, place: int) -> tuple[int, int]:
    """The number at `place`, and where it ends. Raises IndexError where the bytes end first, ValueError where it is
    longer than a number can be."""
    number = shift = 0
    while (octet := payload[place]) > 0x7F:
        number |= (octet & 0x7F) << shift
        shift += 7
        place += 1
        if shift > _MOST_BITS:
            raise ValueError
    return number | octet << shift, place + 1
