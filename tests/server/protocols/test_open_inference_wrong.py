"""Wrong requests to inference.GRPCInferenceService: each says what was expected, and the server goes on."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from tests.server.conftest import Server
from tests.server.protocols.open_inference_calls import (
    ONE,
    Infer,
    encoded,
    error,
    in_shared_memory,
    infer,
    raw,
    tensor,
    typed,
    with_contents,
)
from tests.server.protocols.test_service import images, png

WRONG = {
    "no input": (Infer(), "INVALID_ARGUMENT", "nothing sent as input; send one input: 'images' (UINT8 pixels) or"),
    "another name": (
        Infer(inputs=[tensor("input_1")], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "'input_1' sent as input; send one input: 'images'",
    ),
    "both ways": (
        Infer(inputs=[tensor(), tensor("encoded", "BYTES", [1])], raw_input_contents=[ONE, b"\0\0\0\0"]),
        "INVALID_ARGUMENT",
        "'images', 'encoded' sent as input; send one input",
    ),
    "many names": (
        Infer(inputs=[tensor(f"{number}" * 100) for number in range(9)]),
        "INVALID_ARGUMENT",
        f"'{'7' * 64}' and 1 more sent as input",
    ),
    "no data": (
        Infer(inputs=[tensor()]),
        "INVALID_ARGUMENT",
        "input 'images' has no data; send raw_input_contents, or",
    ),
    "data twice": (
        Infer(inputs=[with_contents(tensor(), uint_contents=[0] * 16)], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has contents and the request has raw_input_contents too",
    ),
    "too many entries": (
        Infer(inputs=[tensor()], raw_input_contents=[ONE, ONE]),
        "INVALID_ARGUMENT",
        "2 entries of raw_input_contents for 1 input",
    ),
    "shared memory": (
        Infer(inputs=[in_shared_memory(tensor())]),
        "UNIMPLEMENTED",
        "input 'images' lies in shared memory, which is not read here",
    ),
    "another datatype": (
        Infer(inputs=[tensor(datatype="FP32")], raw_input_contents=[bytes(64)]),
        "INVALID_ARGUMENT",
        "input 'images' has datatype 'FP32'; expected UINT8",
    ),
    "files that are no BYTES": (
        Infer(inputs=[tensor("encoded", "UINT8", [1])], raw_input_contents=[b"\0\0\0\0"]),
        "INVALID_ARGUMENT",
        "input 'encoded' has datatype 'UINT8'; expected BYTES",
    ),
    "no batch dimension": (
        Infer(inputs=[tensor(shape=[4, 4, 1])], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has shape [4, 4, 1]; model 'echo' expects [N, 4, 4, 1], N at least 1. Resize the images, or",
    ),
    "channels first": (
        Infer(inputs=[tensor(shape=[1, 1, 4, 4])], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has shape [1, 1, 4, 4]; model 'echo' expects [N, 4, 4, 1]",
    ),
    "no images": (
        Infer(inputs=[tensor(shape=[0, 4, 4, 1])], raw_input_contents=[b""]),
        "INVALID_ARGUMENT",
        "input 'images' has shape [0, 4, 4, 1]",
    ),
    "fewer than no images": (
        Infer(inputs=[tensor(shape=[-1, 4, 4, 1])], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has shape [-1, 4, 4, 1]",
    ),
    "no shape": (
        Infer(inputs=[tensor(shape=[])], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has shape []",
    ),
    "files in a matrix": (
        Infer(inputs=[tensor("encoded", "BYTES", [1, 1])], raw_input_contents=[b"\0\0\0\0"]),
        "INVALID_ARGUMENT",
        "input 'encoded' has shape [1, 1]; model 'echo' expects [N], N at least 1.",
    ),
    "too few pixels": (
        Infer(inputs=[tensor(shape=[2, 4, 4, 1])], raw_input_contents=[ONE]),
        "INVALID_ARGUMENT",
        "input 'images' has 16 bytes of raw_input_contents; its shape 2 x 4 x 4 x 1 needs 32",
    ),
    "too many pixels": (
        Infer(inputs=[tensor()], raw_input_contents=[bytes(17)]),
        "INVALID_ARGUMENT",
        "input 'images' has 17 bytes of raw_input_contents; its shape 1 x 4 x 4 x 1 needs 16",
    ),
    "too few numbers": (
        Infer(inputs=[with_contents(tensor(), uint_contents=[1] * 15)]),
        "INVALID_ARGUMENT",
        "input 'images' has 15 values in contents.uint_contents; its shape 1 x 4 x 4 x 1 needs 16",
    ),
    "numbers in another field": (
        Infer(inputs=[with_contents(tensor(), int_contents=[1] * 16)]),
        "INVALID_ARGUMENT",
        "input 'images' has 0 values in contents.uint_contents",
    ),
    "a number that is no pixel": (
        Infer(inputs=[with_contents(tensor(), uint_contents=[0] * 15 + [256])]),
        "INVALID_ARGUMENT",
        "contents.uint_contents of input 'images' holds 256; UINT8 ends at 255",
    ),
    "fewer files": (
        Infer(inputs=[tensor("encoded", "BYTES", [2])], raw_input_contents=[b"\1\0\0\0x"]),
        "INVALID_ARGUMENT",
        "raw_input_contents of input 'encoded' ends within element 1 of 2; expected four bytes of length",
    ),
    "a file cut off": (
        Infer(inputs=[tensor("encoded", "BYTES", [1])], raw_input_contents=[b"\xff\xff\xff\xffx"]),
        "INVALID_ARGUMENT",
        "raw_input_contents of input 'encoded' ends within element 0 of 1",
    ),
    "a length cut off": (
        Infer(inputs=[tensor("encoded", "BYTES", [1])], raw_input_contents=[b"\1\0"]),
        "INVALID_ARGUMENT",
        "raw_input_contents of input 'encoded' ends within element 0 of 1",
    ),
    "more files": (
        Infer(inputs=[tensor("encoded", "BYTES", [1])], raw_input_contents=[b"\1\0\0\0xyz"]),
        "INVALID_ARGUMENT",
        "raw_input_contents of input 'encoded' has 2 bytes after its 1 elements",
    ),
    "fewer typed files": (
        Infer(inputs=[with_contents(tensor("encoded", "BYTES", [2]), bytes_contents=[b"x"])]),
        "INVALID_ARGUMENT",
        "input 'encoded' has shape [2] and 1 elements in contents.bytes_contents",
    ),
    "a file that is no image": (
        encoded([png(np.zeros((4, 4, 1), np.uint8)), b"text"]),
        "INVALID_ARGUMENT",
        "element 1 of input 'encoded': not a JPEG, PNG, WebP, GIF or AVIF image: the 4 bytes are text",
    ),
    "files that decode to too much": (
        Infer(inputs=[tensor("encoded", "BYTES", [2**60])], raw_input_contents=[b""]),
        "INVALID_ARGUMENT",
        "the images of the request decode to 18,446,744,073,709,551,616 bytes, at most",
    ),
    "another output": (
        Infer(outputs=[Infer.InferRequestedOutputTensor(name="logits")]),
        "INVALID_ARGUMENT",
        "'logits' asked for as output; model 'echo' has one, 'probabilities'",
    ),
    "an output twice": (
        Infer(outputs=[Infer.InferRequestedOutputTensor(name="probabilities")] * 2),
        "INVALID_ARGUMENT",
        "'probabilities', 'probabilities' asked for as output",
    ),
    "an output in shared memory": (
        Infer(
            outputs=[
                Infer.InferRequestedOutputTensor(
                    name="probabilities", parameters={"shared_memory_region": typed("region")}
                )
            ]
        ),
        "UNIMPLEMENTED",
        "answers in shared memory are not supported; omit shared_memory_region",
    ),
    "no class": (
        Infer(
            outputs=[
                Infer.InferRequestedOutputTensor(
                    name="probabilities", parameters={"classification": typed(int64_param=0)}
                )
            ]
        ),
        "INVALID_ARGUMENT",
        "output parameter 'classification' (number of classes): expected int64_param from 1 up, got int64_param 0",
    ),
    "classes in words": (
        Infer(
            outputs=[
                Infer.InferRequestedOutputTensor(name="probabilities", parameters={"classification": typed("all")})
            ]
        ),
        "INVALID_ARGUMENT",
        "expected int64_param from 1 up, got string_param",
    ),
    "a timeout in the past": (
        Infer(parameters={"timeout": typed(int64_param=-5)}),
        "INVALID_ARGUMENT",
        "parameter 'timeout' (microseconds): expected int64_param from 0 up, got int64_param -5",
    ),
    "another model": (
        Infer(model_name="ehco"),
        "NOT_FOUND",
        "model 'ehco' is not served here; these are: colour, echo",
    ),
    "a refused model": (Infer(model_name="skewed"), "NOT_FOUND", "found and refused: version 1: golden set"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_requests_say_what_was_expected(server: Server, name: str) -> None:
    request, code, text = WRONG[name]
    found_code, found = error(server, request)
    assert (found_code, text in found) == (code, True), found
    infer(server, raw(images(1)))  # and the server goes on


def test_bytes_that_are_no_message_are_refused(server: Server) -> None:
    for method in ("ModelInfer", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex"):
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}"
        )
        with pytest.raises(grpc.RpcError) as caught:
            ask(b"\xff\xff\xff", timeout=20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"the 3 bytes are not a inference.{method}Request" in (caught.value.details() or "")
