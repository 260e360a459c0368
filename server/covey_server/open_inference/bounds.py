"""How many parts a ModelInferRequest may be made of, looked at before it is parsed.

An empty tensor takes two bytes in a message and 90 in memory: parsing 64 MB of them would take three gigabytes and two
seconds of the thread that takes all calls.
"""

from __future__ import annotations

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.errors import InvalidRequest
from covey_server.wire_format import fields

MOST_FIELDS = 1000  # of a request and its tensors; a request of one input and one output has about ten
_SMALL_BYTES = 65_536  # what cannot take more than a few megabytes is not looked at
_TENSORS = (pb.ModelInferRequest.INPUTS_FIELD_NUMBER, pb.ModelInferRequest.OUTPUTS_FIELD_NUMBER)


def refuse_many_fields(payload: bytes) -> None:
    """Raises InvalidRequest for a message of far more fields than any request needs. What is no message passes: the
    parser says so."""
    if len(payload) <= _SMALL_BYTES:
        return
    left = MOST_FIELDS
    try:
        for number, start, stop in fields(payload, 0, len(payload)):
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
    for _ in fields(payload, start, stop):
        count += 1
        if count > most:
            break
    return count
