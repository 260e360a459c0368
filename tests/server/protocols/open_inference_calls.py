"""Requests of inference.GRPCInferenceService as tests write them, and the calls that send them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from numpy.typing import NDArray
from tests.server.conftest import Server

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.v1 import classifier_pb2

M = TypeVar("M", bound=Message)
Infer = pb.ModelInferRequest


def call(server: Server, method: str, request: Message, answer: type[M], timeout_s: float = 20.0) -> M:
    """Calls a method of the service."""
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        f"/inference.GRPCInferenceService/{method}"
    )
    return answer.FromString(ask(request.SerializeToString(), timeout=timeout_s))


def infer(server: Server, request: pb.ModelInferRequest) -> pb.ModelInferResponse:
    return call(server, "ModelInfer", request, pb.ModelInferResponse)


def error(server: Server, request: Message, method: str = "ModelInfer") -> tuple[str, str]:
    """The status a request fails with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(server, method, request, pb.ModelInferResponse)
    return caught.value.code().name, caught.value.details() or ""


def raw(pixels: NDArray[np.uint8], **fields: Any) -> pb.ModelInferRequest:
    """A request with raw pixels."""
    tensor = Infer.InferInputTensor(name="images", datatype="UINT8", shape=pixels.shape)
    return Infer(inputs=[tensor], raw_input_contents=[pixels.tobytes()], **fields)


def encoded(files: Sequence[bytes], **fields: Any) -> pb.ModelInferRequest:
    """A request with image files, raw as a BYTES tensor is."""
    tensor = Infer.InferInputTensor(name="encoded", datatype="BYTES", shape=[len(files)])
    content = b"".join(struct.pack("<I", len(file)) + file for file in files)
    return Infer(inputs=[tensor], raw_input_contents=[content], **fields)


def probabilities(response: pb.ModelInferResponse) -> NDArray[np.float32]:
    """The one output, `[N, K] float32`."""
    (output,), (content,) = response.outputs, response.raw_output_contents
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    return np.frombuffer(content, "<f4").reshape(*output.shape)


def classified(server: Server, pixels: NDArray[np.uint8], **fields: Any) -> NDArray[np.float32]:
    """What covey.v1 answers, in the order of the classes."""
    pixels_ = classifier_pb2.Pixels(data=pixels.tobytes())
    response = server.classify(classifier_pb2.ClassifyRequest(pixels=pixels_, **fields))
    rows = [sorted((each.index, each.probability) for each in result.classes) for result in response.results]
    return np.array([[probability for _, probability in row] for row in rows], np.float32)


def typed(value: str = "", **kinds: Any) -> pb.InferParameter:
    return pb.InferParameter(**kinds) if kinds else pb.InferParameter(string_param=value)


def tensor(
    name: str = "images", datatype: str = "UINT8", shape: Sequence[int] = (1, 4, 4, 1)
) -> Infer.InferInputTensor:
    return Infer.InferInputTensor(name=name, datatype=datatype, shape=shape)


def with_contents(each: Infer.InferInputTensor, **contents: Any) -> Infer.InferInputTensor:
    each.contents.CopyFrom(pb.InferTensorContents(**contents))
    return each


def in_shared_memory(each: Infer.InferInputTensor) -> Infer.InferInputTensor:
    each.parameters["shared_memory_region"].string_param = "region"
    return each


ONE = bytes(16)  # one image of the model `echo`
