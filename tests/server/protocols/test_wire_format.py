"""The bytes of a large message are given apart, uncopied; what is left of it and they are the message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey_proto.inference import open_inference_pb2 as oi
from covey_proto.v1 import classifier_pb2 as pb
from covey_proto.wire_format import read_varint, write_varint
from covey_server.errors import InvalidRequest
from covey_server.protocols.classifier.stream_messages import ClassifyElement
from covey_server.protocols.parsing import parse_around
from covey_server.protocols.wire_format import cut_out

DATA = (pb.ClassifyRequest.PIXELS_FIELD_NUMBER, pb.Pixels.DATA_FIELD_NUMBER)
RAW = (oi.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER,)
LARGE = bytes(range(256)) * 400
# What a message may be put together of, in any order and number: protobuf merges it.
PIECES = [
    pb.ClassifyRequest(pixels=pb.Pixels(data=b"abc", height=4)),
    pb.ClassifyRequest(pixels=pb.Pixels(data=LARGE)),
    pb.ClassifyRequest(pixels=pb.Pixels(width=9, channels=2)),
    pb.ClassifyRequest(pixels=pb.Pixels()),
    pb.ClassifyRequest(encoded=pb.EncodedImages(images=[b"x" * 70_000, b""])),
    pb.ClassifyRequest(model="name", version=3, top_k=2),
]


def joined(pieces: list[pb.ClassifyRequest]) -> bytes:
    """One message of all of them, as protobuf reads it."""
    return b"".join(piece.SerializeToString() for piece in pieces)


GROUP = b"\xa3\x01\x1a\x02hi\xab\x01\xac\x01\xa4\x01"  # number 20; in it a field of number 3, and an empty group
FOREIGN = [b"\x18\x05", b"\x20\x07", b"\x0d\x00\x00\x00\x00"]  # numbers that are known, in other wire types
UNKNOWN = [b"", b"\x7a\x02hi", b"\xa8\x01\x05", GROUP, *FOREIGN]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=5), unknown=st.sampled_from(UNKNOWN))
def test_the_rest_and_the_bytes_are_the_message(pieces: list[pb.ClassifyRequest], unknown: bytes) -> None:
    payload = unknown + joined(pieces) + unknown
    expected = pb.ClassifyRequest.FromString(payload)
    found, data = parse_around(pb.ClassifyRequest, payload, DATA)
    assert found.WhichOneof("images") == expected.WhichOneof("images")
    if data is not None and expected.WhichOneof("images") == "pixels":
        assert not found.pixels.data
        found.pixels.data = bytes(data)
    assert found == expected


STREAM_PIECES = [
    pb.ClassifyStreamRequest(id="a"),
    pb.ClassifyStreamRequest(id="other", deadline_us=7),
    pb.ClassifyStreamRequest(request=pb.ClassifyRequest(model="name", top_k=2)),
    pb.ClassifyStreamRequest(request=pb.ClassifyRequest(version=3)),
]


@given(
    pieces=st.lists(st.sampled_from(STREAM_PIECES), max_size=3),
    unknown=st.lists(st.sampled_from([*UNKNOWN, b"\x08\x01", b"\x10\x02", b"\x1a\x01x"]), max_size=1),
)
def test_a_streams_message_is_opened_as_protobuf_reads_it(
    pieces: list[pb.ClassifyStreamRequest], unknown: list[bytes]
) -> None:
    message = b"".join((*unknown, *(piece.SerializeToString() for piece in pieces), *unknown[:1]))
    expected = pb.ClassifyStreamRequest.FromString(message)
    element = ClassifyElement()
    opened = element.open(message)
    answer = pb.ClassifyStreamResponse.FromString(element.reply(b""))
    assert pb.ClassifyRequest.FromString(opened) == expected.request
    assert (answer.id, element.deadline_us) == (expected.id, expected.deadline_us)


def test_large_bytes_are_not_copied() -> None:
    request = pb.ClassifyRequest(model="name", pixels=pb.Pixels(data=LARGE, height=4)).SerializeToString()
    for kind, path, payload in (
        (pb.ClassifyRequest, DATA, request),
        (oi.ModelInferRequest, RAW, oi.ModelInferRequest(raw_input_contents=[LARGE]).SerializeToString()),
    ):
        message, data = parse_around(kind, payload, path)
        assert data is not None
        assert data.obj is payload
        assert data == LARGE
        assert message.ByteSize() < 50


def test_small_ones_and_those_in_two_are_left_in_the_message() -> None:
    small = pb.ClassifyRequest(pixels=pb.Pixels(data=b"abc"))
    assert parse_around(pb.ClassifyRequest, small.SerializeToString(), DATA) == (small, None)
    two = oi.ModelInferRequest(raw_input_contents=[LARGE, LARGE])
    assert parse_around(oi.ModelInferRequest, two.SerializeToString(), RAW) == (two, None)


@pytest.mark.parametrize("field", [b"\x08" + b"\x01", b"\x0d" + bytes(4), b"\x09" + bytes(8)])
def test_a_field_of_that_number_that_holds_no_bytes_is_not_taken(field: bytes) -> None:
    payload = b"\x2a" + write_varint(len(field)) + field
    assert cut_out(payload, DATA) is None
    assert cut_out(b"\x28\x05", DATA) is None, "nor where the message around it is none"


@pytest.mark.parametrize(
    "payload",
    [LARGE + b"\xff" * 20, joined(PIECES[1:2])[:-1], b"\x2a" + write_varint(len(LARGE)) + b"\x0a\xff" * 51_200],
)
def test_what_is_no_message_is_named_with_its_size(payload: bytes) -> None:
    with pytest.raises(InvalidRequest, match=rf"the {len(payload):,} bytes are not a covey.v1.ClassifyRequest: "):
        parse_around(pb.ClassifyRequest, payload, DATA)


@given(st.integers(0, 2**63 - 1))
def test_numbers_are_read_as_they_were_written(number: int) -> None:
    written = write_varint(number)
    assert read_varint(written, 0) == (number, len(written))
