"""Messages of millions of parts are refused before they are parsed; all others pass."""

from __future__ import annotations

import contextlib

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st
from tests.server.conftest import Server
from tests.server.protocols.open_inference_calls import infer, probabilities, raw
from tests.server.protocols.test_service import images

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.v1 import classifier_pb2
from covey_proto.wire_format import write_varint
from covey_server.errors import InvalidRequest
from covey_server.protocols.bounds import MAX_FIELDS, MAX_NUMBER_BYTES
from covey_server.protocols.parsing import parse

CLASSIFY, INFER, INPUT = classifier_pb2.ClassifyRequest, pb.ModelInferRequest, pb.ModelInferRequest.InferInputTensor
PADDING = INFER(raw_input_contents=[bytes(100_000)]).SerializeToString()
MANY = MAX_FIELDS + 1
NUMBERS = b"\x01" * (MAX_NUMBER_BYTES + 1)
FIELDS, BYTES = (
    r"bytes is made of more than 65,536 fields; send fewer",
    r"more than 4,194,304 bytes of numbers; send pixels",
)


def one_input(**fields: object) -> bytes:
    """A request of one input, by its wire format."""
    return INFER(inputs=[INPUT(**fields)]).SerializeToString()  # type: ignore[arg-type]


def within(number: int, content: bytes) -> bytes:
    """A field that holds other fields, or bytes."""
    return bytes((number << 3 | 2,)) + write_varint(len(content)) + content


PADDED_GROUP = b"\x0b\x22\x01\xff\x0c"  # number 1; in it a field of number 4
EMPTY_IMAGES = within(4, within(1, b"") * MANY)


@pytest.mark.parametrize(
    ("kind", "payload", "text"),
    [
        (CLASSIFY, EMPTY_IMAGES, FIELDS),
        (CLASSIFY, PADDED_GROUP + EMPTY_IMAGES, FIELDS),  # a group, whose content must not hide others
        (CLASSIFY, b"\x0b" * MANY + b"\x0c" * MANY, FIELDS),
        (CLASSIFY, within(4, b"\x0a\x00") * (MAX_FIELDS // 2 + 1), FIELDS),
        (CLASSIFY, within(5, b"\x10\x01" * MANY), FIELDS),  # the height of pixels
        (classifier_pb2.GetModelRequest, b"\x10\x01" * MANY, FIELDS),  # versions
        (pb.RepositoryModelLoadRequest, within(3, b"") * MANY, FIELDS),  # parameters
        (INFER, within(5, b"") * MANY, FIELDS),  # inputs
        (INFER, within(6, b"") * MANY, FIELDS),  # outputs
        (INFER, within(7, b"") * MANY, FIELDS),  # raw_input_contents
        (INFER, b"\x48\x01" * MANY, FIELDS),  # of a field that nobody knows
        (INFER, PADDING + one_input(parameters={str(n): pb.InferParameter() for n in range(MANY // 2)}), FIELDS),
        (INFER, within(4, within(2, b"\x08\x01" * MANY)), FIELDS),  # the value of a parameter
        (INFER, one_input(contents=pb.InferTensorContents(bytes_contents=[b""] * MANY)), FIELDS),
        (INFER, within(5, within(3, NUMBERS)), BYTES),  # a shape
        (INFER, within(5, within(5, within(3, NUMBERS))), BYTES),  # int64_contents
        (INFER, within(5, within(5, within(4, NUMBERS[: len(NUMBERS) // 2]))) * 3, BYTES),  # uint_contents
    ],
)
def test_a_message_of_many_parts_is_refused(kind: type[Message], payload: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        parse(kind, payload)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (CLASSIFY, CLASSIFY(pixels=classifier_pb2.Pixels(data=bytes(100_000))).SerializeToString()),
        (CLASSIFY, within(4, within(1, bytes(50)) * 10_000)),
        (INFER, PADDING + b"\x2a\x00" * (MAX_FIELDS - 1)),
        (INFER, one_input(contents=pb.InferTensorContents(uint_contents=[200] * (MAX_NUMBER_BYTES // 2)))),
        (INFER, one_input(contents=pb.InferTensorContents(bytes_contents=[b"x" * 50] * 5000))),
    ],
)
def test_any_other_message_passes(kind: type[Message], payload: bytes) -> None:
    assert parse(kind, payload) == kind.FromString(payload)


@pytest.mark.parametrize(
    ("tail", "text"),
    [
        (b"\x2a", "the bytes end within a number"),
        (b"\x2a\x80", "the bytes end within a number"),
        (b"\x4a\x7f\x00", "the bytes end 126 before the last field does"),
        (b"\xff" * 100, "a number of more than 64 bits"),
        (within(4, b"\x0a"), "the bytes end within a number"),
        (b"\x0b\x22\x01\xff", "the bytes end within group 1"),
        (b"\x0b\x22\x01\xff\x14", "the end of group 2, which is not open"),
        (b"\x0e" + EMPTY_IMAGES, "a field of wire type 6"),
        (b"\x02\x00", "a field without a number"),
    ],
)
def test_what_is_no_message_is_refused_whatever_follows(tail: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"bytes are not a covey.v1.ClassifyRequest: {text}"):
        parse(CLASSIFY, within(9, bytes(100_000)) + tail)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(tail: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        parse(INFER, PADDING + tail)


@pytest.mark.parametrize(
    ("method", "payload"),
    [
        ("covey.v1.Classifier/Classify", EMPTY_IMAGES),
        ("covey.v1.Classifier/GetModel", b"\x10\x01" * MANY),
        ("inference.GRPCInferenceService/ModelInfer", within(5, b"") * MANY),
    ],
)
def test_the_server_refuses_them_and_goes_on(server: Server, method: str, payload: bytes) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(f"/{method}")
    with pytest.raises(grpc.RpcError, match=FIELDS) as caught:
        call(payload, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert infer(server, raw(images(1))).model_name == "echo"


def test_many_typed_pixels_are_read_piece_by_piece(server: Server) -> None:
    pixels = images(5000)
    request = INFER(inputs=[INPUT(name="images", datatype="UINT8", shape=pixels.shape)])
    request.inputs[0].contents.uint_contents.extend(pixels.ravel().tolist())
    assert probabilities(infer(server, request)).tolist() == probabilities(infer(server, raw(pixels))).tolist()
