"""Messages of millions of parts are refused before they are parsed; all others pass."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.conftest import Server
from tests.server.open_inference_calls import error, infer, raw
from tests.server.test_service import images

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.errors import InvalidRequest
from covey_server.open_inference.bounds import MOST_FIELDS, refuse_many_fields

PADDING = pb.ModelInferRequest(raw_input_contents=[bytes(100_000)]).SerializeToString()
INPUT = pb.ModelInferRequest.InferInputTensor


def one_input(**fields: object) -> bytes:
    """A request of one input, by its wire format."""
    return pb.ModelInferRequest(inputs=[INPUT(**fields)]).SerializeToString()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x2a\x00" * 40_000,  # inputs
        b"\x32\x00" * 40_000,  # outputs
        b"\x22\x00" * 40_000,  # parameters
        b"\x3a\x00" * 40_000,  # raw_input_contents
        b"\x08\x01" * 40_000,  # of a field that nobody knows
        PADDING + one_input(parameters={str(number): pb.InferParameter() for number in range(MOST_FIELDS)}),
        PADDING + one_input(name="images") * (MOST_FIELDS // 2),
    ],
)
def test_a_message_of_many_parts_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"bytes is made of more than 1,000 fields; expected one input"):
        refuse_many_fields(payload)


@pytest.mark.parametrize(
    "payload",
    [
        PADDING,
        PADDING + b"\x2a\x00" * (MOST_FIELDS - 1),
        one_input(contents=pb.InferTensorContents(uint_contents=[200] * 100_000)),
        one_input(contents=pb.InferTensorContents(bytes_contents=[b"x" * 50] * 5000)),
        b"\x2a\x00" * 30_000,  # small
        PADDING + b"\x2a",  # cut off after a field's number, in a length, in a value
        PADDING + b"\x2a\x80",
        PADDING + b"\x2a\x7f\x00",
        b"\xff" * 1_000_000,
    ],
)
def test_any_other_message_passes(payload: bytes) -> None:
    refuse_many_fields(payload)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail_in_another_way(tail: bytes) -> None:
    refuse_many_fields(PADDING + tail)


def test_the_server_refuses_them_and_goes_on(server: Server) -> None:
    request = raw(images(5000))
    assert len(infer(server, request).raw_output_contents[0]) == 5000 * 10 * 4
    for _ in range(MOST_FIELDS):
        request.inputs.add()
    code, text = error(server, request)
    assert (code, "is made of more than 1,000 fields" in text) == ("INVALID_ARGUMENT", True)
    assert infer(server, raw(images(1))).model_name == "echo"
