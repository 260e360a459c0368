"""inference.GRPCInferenceService over the wire, on both fronts, by messages of our own: what unmodified clients do not
send as well. (Those have tests of their own, in processes of their own.)"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.test_service import images, png

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


@pytest.mark.parametrize("count", [1, 3, 50])
def test_raw_pixels_answer_exactly_as_covey_v1_does(server: Server, count: int) -> None:
    pixels = images(count)
    response = infer(server, raw(pixels, id="mine"))
    assert (response.model_name, response.model_version, response.id) == ("echo", "1", "mine")
    assert np.array_equal(probabilities(response), classified(server, pixels, top_k=10))
    assert probabilities(response) == pytest.approx(pixels.reshape(count, -1)[:, :10] / 255)


def test_every_way_into_a_message_gives_the_same_answer(server: Server) -> None:
    pixels = images(3, (2, 3, 3))
    model: dict[str, Any] = {"model_name": "colour", "model_version": "7"}
    expected = classified(server, pixels, model="colour", top_k=18)
    typed_pixels = Infer(**model)
    typed_pixels.inputs.add(name="images", datatype="UINT8", shape=pixels.shape).contents.uint_contents.extend(
        pixels.ravel().tolist()
    )
    files = [png(each) for each in pixels]
    typed_files = Infer(**model)
    typed_files.inputs.add(name="encoded", datatype="BYTES", shape=[3]).contents.bytes_contents.extend(files)
    for request in (raw(pixels, **model), typed_pixels, encoded(files, **model), typed_files):
        response = infer(server, request)
        assert np.array_equal(probabilities(response), expected)
        assert not response.outputs[0].HasField("contents")
        assert response.id == ""


def test_classification_gives_the_best_classes_as_text(server: Server) -> None:
    request = raw(np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1), id="7")
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    response = infer(server, request)
    (output,), (content,) = response.outputs, response.raw_output_contents
    assert (output.datatype, list(output.shape), response.id) == ("BYTES", [2, 2], "7")
    texts = [b"0.035294:9:class 9", b"0.031373:8:class 8", b"0.098039:9:class 9", b"0.094118:8:class 8"]
    assert content == b"".join(struct.pack("<I", len(text)) + text for text in texts)
    request.outputs[0].parameters["classification"].int64_param = 1000
    assert list(infer(server, request).outputs[0].shape) == [2, 10]


def test_a_named_output_and_unknown_parameters_change_nothing(server: Server) -> None:
    request = raw(images(2))
    plain = infer(server, request)
    request.outputs.add(name="probabilities").parameters["binary_data"].bool_param = True
    request.parameters["sequence_id"].int64_param = 3
    request.inputs[0].parameters["anything"].string_param = "x"
    assert infer(server, request) == plain


def test_versions_are_whole_numbers_and_the_highest_is_the_default(server: Server) -> None:
    pixels = images(1, (2, 3, 3))
    for version in ("", "7"):
        assert infer(server, raw(pixels, model_name="colour", model_version=version)).model_version == "7"
    for version in ("0", "07", "v7", "-1", "9" * 30):
        code, text = error(server, raw(pixels, model_name="colour", model_version=version))
        assert code == "INVALID_ARGUMENT"
        assert f"version '{version}': expected a whole number from 1 up" in text
    code, text = error(server, raw(pixels, model_name="colour", model_version="6"))
    assert (code, "version 6 of model 'colour' is not served; version 7 is" in text) == ("NOT_FOUND", True)


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


ONE = bytes(16)
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
        "element 1 of input 'encoded': 4 bytes that are not a JPEG, PNG, WebP or GIF image",
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
        "answers in shared memory are not given here",
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
        "output parameter 'classification' (number of classes): expected int64_param from 1 up, got int64_param",
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
        "parameter 'timeout' (microseconds): expected int64_param from 1 up, got int64_param -5",
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


def test_a_timeout_is_a_deadline(server: Server) -> None:
    request = raw(images(20_000))
    request.parameters["timeout"].int64_param = 100
    code, text = error(server, request)
    assert (code, "allow more time" in text or "deadline passed" in text) == ("DEADLINE_EXCEEDED", True), text
    request = raw(images(1))
    request.parameters["timeout"].uint64_param = 20_000_000
    assert len(probabilities(infer(server, request))) == 1


def test_requests_of_both_protocols_share_a_batch(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_batch_size=2, max_delay_us=10_000_000)
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer"
    )
    pixels = images(2)
    began = time.monotonic()
    waiting = ask.future(raw(pixels[:1]).SerializeToString(), timeout=20)
    request = classifier_pb2.ClassifyRequest(pixels=classifier_pb2.Pixels(data=pixels[1].tobytes()), top_k=10)
    response = server.classify(request)
    assert response.timing.batch_size == 2
    assert {each.index: each.probability for each in response.results[0].classes} == pytest.approx(
        dict(enumerate(pixels[1].ravel()[:10] / 255))
    )
    found = probabilities(pb.ModelInferResponse.FromString(waiting.result()))
    assert found == pytest.approx(pixels[:1].reshape(1, -1)[:, :10] / 255)
    assert time.monotonic() - began < 10  # neither waited until it could wait no longer


def test_each_request_of_a_batch_gets_its_own_rows(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_batch_size=4, max_delay_us=10_000_000)
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary(
        "/inference.GRPCInferenceService/ModelInfer"
    )
    pixels = images(4)
    requests = [raw(pixels[place : place + 1], id=str(place)) for place in range(4)]
    for request in requests[2:]:
        request.outputs.add(name="probabilities").parameters["classification"].int64_param = 1
    futures = [ask.future(request.SerializeToString(), timeout=20) for request in requests]
    answers = [pb.ModelInferResponse.FromString(future.result()) for future in futures]
    assert [answer.id for answer in answers] == ["0", "1", "2", "3"]
    expected = pixels.reshape(4, -1)[:, :10] / 255
    for answer, row in zip(answers[:2], expected[:2], strict=True):
        assert probabilities(answer) == pytest.approx(row[None])
    for answer, row in zip(answers[2:], expected[2:], strict=True):
        assert answer.raw_output_contents[0][4:].split(b":")[1] == str(row.argmax()).encode()
    statistics = call(server, "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
    assert statistics.model_stats[0].execution_count == 1


def test_live_and_ready_are_those_of_the_server(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path)

    def states() -> tuple[bool, bool, bool]:
        live = call(server, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live
        ready = call(server, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
        model = call(server, "ModelReady", pb.ModelReadyRequest(name="echo", version="1"), pb.ModelReadyResponse).ready
        return live, ready, model

    assert states() == (True, True, True)
    server.app._serving = False  # as it is while it stops
    assert states() == (True, False, False)
    server.app._serving = True
    server.app._on_stuck(True)
    assert states() == (False, False, False)
    server.app._on_stuck(False)
    assert states() == (True, True, True)


def test_models_that_are_not_served_are_not_ready(server: Server) -> None:
    def ready(name: str, version: str = "") -> bool:
        return call(server, "ModelReady", pb.ModelReadyRequest(name=name, version=version), pb.ModelReadyResponse).ready

    assert ready("colour", "7")
    assert ready("")  # the default model
    assert not ready("colour", "6")
    assert not ready("colour", "x")
    assert not ready("skewed")
    assert not ready("nobody")


def test_a_model_describes_itself(server: Server) -> None:
    request = pb.ModelMetadataRequest(name="colour")
    metadata = call(server, "ModelMetadata", request, pb.ModelMetadataResponse)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("colour", ["7"], "onnxruntime_onnx")
    kind = pb.ModelMetadataResponse.TensorMetadata
    assert list(metadata.inputs) == [kind(name="images", datatype="UINT8", shape=[-1, 2, 3, 3])]
    assert list(metadata.outputs) == [kind(name="probabilities", datatype="FP32", shape=[-1, 18])]
    assert "BYTES [N]" in metadata.properties["other_input"]
    config = call(server, "ModelConfig", pb.ModelConfigRequest(name="echo"), pb.ModelConfigResponse).config
    assert config.max_batch_size == (64 * 2**20 - 4096) // 16
    assert list(config.input[0].dims) == [4, 4, 1]
    assert list(config.output[0].dims) == [10]
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert len(probabilities(infer(server, raw(np.zeros((5000, 4, 4, 1), np.uint8))))) == 5000
    for method in ("ModelMetadata", "ModelConfig", "ModelStatistics"):
        assert error(server, pb.ModelMetadataRequest(name="nobody"), method)[0] == "NOT_FOUND"


def test_all_served_versions_are_listed(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, version=9)
    write_echo_model(tmp_path, version=10)
    server = start_server(tmp_path, version_policy="all")
    request = pb.ModelMetadataRequest(name="echo")
    assert list(call(server, "ModelMetadata", request, pb.ModelMetadataResponse).versions) == ["9", "10"]
    request.version = "9"
    assert list(call(server, "ModelMetadata", request, pb.ModelMetadataResponse).versions) == ["9"]
    assert infer(server, raw(images(1))).model_version == "10"
    assert infer(server, raw(images(1), model_version="9")).model_version == "9"
    one = pb.ModelStatisticsRequest(name="echo", version="9")
    counted = call(server, "ModelStatistics", one, pb.ModelStatisticsResponse).model_stats
    assert [(each.version, each.inference_count) for each in counted] == [("9", 1)]
    both = call(server, "ModelStatistics", pb.ModelStatisticsRequest(name="echo"), pb.ModelStatisticsResponse)
    assert {each.version for each in both.model_stats} == {"9", "10"}


def test_statistics_equal_what_was_sent(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_batch_size=8)
    (before,) = call(server, "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse).model_stats
    assert before == pb.ModelStatistics(name="echo", version="1", inference_stats=before.inference_stats)
    assert before.inference_stats.success == pb.StatisticDuration()
    began_ms = int(time.time() * 1000)
    for _ in range(4):
        infer(server, raw(images(3)))
    classified(server, images(3))
    error(server, raw(images(1, (2, 2, 1))))
    (after,) = call(server, "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse).model_stats
    assert (after.inference_count, after.execution_count) == (15, 5)
    stats = after.inference_stats
    assert (stats.success.count, stats.fail.count, stats.queue.count) == (5, 1, 5)
    parts = stats.queue.ns + stats.compute_input.ns + stats.compute_infer.ns
    assert stats.success.ns == pytest.approx(parts, abs=3)
    assert began_ms - 100 <= after.last_inference <= time.time() * 1000 + 100


def test_the_index_shows_refused_models_with_the_reason(server: Server) -> None:
    request = pb.RepositoryIndexRequest()
    shown = call(server, "RepositoryIndex", request, pb.RepositoryIndexResponse).models
    assert [(each.name, each.version, each.state) for each in shown] == [
        ("colour", "7", "READY"),
        ("echo", "1", "READY"),
        ("skewed", "1", "UNAVAILABLE"),
    ]
    assert "golden set" in shown[2].reason
    request.ready = True
    shown = call(server, "RepositoryIndex", request, pb.RepositoryIndexResponse).models
    assert [each.name for each in shown] == ["colour", "echo"]
    code, text = error(server, pb.RepositoryIndexRequest(repository_name="other"), "RepositoryIndex")
    assert (code, "leave repository_name out" in text) == ("UNIMPLEMENTED", True)


def test_models_cannot_be_loaded_or_unloaded_by_calls(server: Server) -> None:
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        code, text = error(server, pb.RepositoryModelLoadRequest(model_name="echo"), method)
        assert (code, "into the models folder, or take it away; the server follows" in text) == ("UNIMPLEMENTED", True)
    assert infer(server, raw(images(1))).model_name == "echo"


def test_large_messages_are_refused_in_words(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start_server(tmp_path, max_message_bytes=10_000)
    limit = call(server, "ModelConfig", pb.ModelConfigRequest(), pb.ModelConfigResponse).config.max_batch_size
    assert len(probabilities(infer(server, raw(images(limit), id="x" * 1000)))) == limit
    code, text = error(server, raw(images(700)))
    assert (code, "at most 10,000 are taken here" in text) == ("INVALID_ARGUMENT", True)
    code, text = error(server, pb.ModelReadyRequest(name="x" * 10_000), "ModelReady")
    assert (code, "at most 10,000 are taken here" in text) == ("INVALID_ARGUMENT", True)


def test_health_and_reflection_know_the_service(server: Server) -> None:
    health = health_pb2_grpc.HealthStub(server.channel)
    request = health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService")
    assert health.Check(request, timeout=20).status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")
    (answer,) = stub.ServerReflectionInfo(iter([question]), timeout=20)
    assert answer.file_descriptor_response.file_descriptor_proto
