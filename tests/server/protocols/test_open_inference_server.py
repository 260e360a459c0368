"""inference.GRPCInferenceService as a part of the server: shared batches, deadlines, readiness, limits, statistics."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.protocols.open_inference_calls import (
    call,
    classified,
    error,
    infer,
    probabilities,
    raw,
)
from tests.server.protocols.test_service import images

from covey_proto.inference import open_inference_pb2 as pb
from covey_proto.v1 import classifier_pb2


def test_a_timeout_is_a_deadline(server: Server) -> None:
    request = raw(images(20_000))
    request.parameters["timeout"].int64_param = 100
    code, text = error(server, request)
    assert (code, "allow more time" in text or "deadline passed" in text) == ("DEADLINE_EXCEEDED", True), text
    request = raw(images(1))
    request.parameters["timeout"].uint64_param = 20_000_000
    assert len(probabilities(infer(server, request))) == 1
    request.parameters["timeout"].int64_param = 0  # none, as Triton has it
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
    server.app._health.serving = False  # as it is while it stops
    assert states() == (True, False, False)
    server.app._health.serving = True
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
    assert (code, "omit repository_name" in text) == ("UNIMPLEMENTED", True)


def test_models_cannot_be_loaded_or_unloaded_by_calls(server: Server) -> None:
    for method in ("RepositoryModelLoad", "RepositoryModelUnload"):
        code, text = error(server, pb.RepositoryModelLoadRequest(model_name="echo"), method)
        assert (code, "into the models folder, or take it away; the server follows" in text) == ("UNAVAILABLE", True)
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
