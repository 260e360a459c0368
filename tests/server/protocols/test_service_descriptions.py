"""What the service tells of itself over the wire: models, versions, reflection, metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from bench.processes import fetch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, write_standard_models
from tests.server.protocols.test_service import images, png

from covey_proto.v1 import classifier_pb2 as pb


def test_lists_models_with_the_reasons_of_those_it_refused(server: Server) -> None:
    listed = pb.ListModelsResponse.FromString(server.ask("ListModels", b""))
    assert [(model.name, model.version, model.state, model.is_default) for model in listed.models] == [
        ("colour", 7, pb.Model.STATE_READY, False),
        ("echo", 1, pb.Model.STATE_READY, True),
        ("skewed", 1, pb.Model.STATE_REFUSED, False),
    ]
    assert "golden set" in listed.models[2].reason
    assert not listed.models[0].info.HasField("golden_set")
    assert listed.models[0].info.input == pb.ImageSpec(
        height=2, width=3, channels=3, resize=pb.ImageSpec.RESIZE_STRETCH
    )
    assert listed.models[1].serving.max_batch_size == 8
    request = pb.GetModelRequest(name="colour").SerializeToString()
    assert pb.GetModelResponse.FromString(server.ask("GetModel", request)).model == listed.models[0]
    request = pb.GetModelRequest(name="skewed").SerializeToString()
    assert pb.GetModelResponse.FromString(server.ask("GetModel", request)).model == listed.models[2]


def test_a_model_shows_what_was_measured_of_it(server: Server) -> None:
    answer = pb.GetModelResponse.FromString(server.ask("GetModel", pb.GetModelRequest().SerializeToString()))
    serving = answer.model.serving
    sizes = [point.batch_size for point in serving.batch_curve]
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert serving.max_batch_size in sizes
    assert all(point.run_us > 0 for point in serving.batch_curve)
    assert serving.load_ms > 0
    assert 0 <= serving.golden_difference < 1e-6
    assert serving.device_fallback == ""


def test_versions_can_be_asked_for_by_number(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    for version in (1, 2, 5):
        write_echo_model(tmp_path, version=version)
    server = start_server(tmp_path, version_policy="latest:2")
    pixels = pb.Pixels(data=bytes(16))
    for asked, answered in ((0, 5), (5, 5), (2, 2)):
        assert server.classify(pb.ClassifyRequest(version=asked, pixels=pixels)).version == answered
    code, message = server.error(pb.ClassifyRequest(version=1, pixels=pixels))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "version 1 of model 'echo' is not served; versions 5 and 2 are" in message


def test_a_client_that_knows_nothing_but_reflection_classifies_an_image(server: Server) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(server.channel)

    def ask(**question: str) -> reflection_pb2.ServerReflectionResponse:
        answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=20)
        return next(iter(answers))

    services = {service.name for service in ask(list_services="").list_services_response.service}
    assert {"covey.v1.Classifier", "grpc.health.v1.Health"} <= services

    pool = descriptor_pool.DescriptorPool()  # empty: none of Covey's own stubs

    def add(files: Sequence[bytes]) -> None:
        """Adds files to the pool, those they build on first."""
        for file in map(descriptor_pb2.FileDescriptorProto.FromString, files):
            for name in file.dependency:
                add(ask(file_by_filename=name).file_descriptor_response.file_descriptor_proto[:1])
            pool.Add(file)

    found = ask(file_containing_symbol="covey.v1.Classifier").file_descriptor_response.file_descriptor_proto
    add([file for file in found if b"covey/v1" in file or b"covey_proto" in file][:1])
    method = pool.FindServiceByName("covey.v1.Classifier").methods_by_name["Classify"]
    request_type = message_factory.GetMessageClass(method.input_type)
    response_type = message_factory.GetMessageClass(method.output_type)

    pixels = images(1)
    request = request_type(encoded={"images": [png(pixels[0])]}, top_k=1)
    response: Any = response_type.FromString(server.ask("Classify", request.SerializeToString()))
    assert response.results[0].classes[0].index == pixels.ravel()[:10].argmax()


def test_metrics_parse_and_equal_what_was_sent(
    tmp_path: Path, start_server: StartServer, write_echo_model: WriteModel
) -> None:
    write_standard_models(tmp_path, write_echo_model)
    server = start_server(tmp_path, default_model="echo", max_batch_size=8)
    for _ in range(5):
        server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 3))))
    server.classify(pb.ClassifyRequest(model="colour", encoded=pb.EncodedImages(images=[b"x", png(images(1)[0])])))
    server.error(pb.ClassifyRequest(model="colour"))
    server.error(pb.ClassifyRequest(model="nobody"))

    text = fetch(server.metrics_url)
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    echo, colour = (("model", "echo"), ("version", "1")), (("model", "colour"), ("version", "7"))
    for code, model, version, count in (
        ("OK", "echo", "1", 5),
        ("OK", "colour", "7", 1),
        ("INVALID_ARGUMENT", "colour", "7", 1),
        ("NOT_FOUND", "", "", 1),
    ):
        labels = ("code", code), ("model", model), ("protocol", "grpc"), ("version", version)
        assert samples["covey_requests_total", *labels] == count
    assert samples["covey_images_total", *echo] == 15
    assert samples["covey_images_total", *colour] == 1
    assert samples["covey_invalid_images_total", colour[0], ("reason", "unknown_format"), colour[1]] == 1
    assert samples["covey_batch_size_sum", *echo] == 15
    assert samples["covey_batch_size_bucket", ("le", "4.0"), *echo] == samples["covey_batch_size_count", *echo] == 5
    total = samples["covey_request_seconds_sum", *echo]
    parts = sum(samples[f"covey_{part}_seconds_sum", *echo] for part in ("decode", "queue", "compute"))
    assert total == pytest.approx(parts)
    assert samples["covey_request_seconds_count", *echo] == 5
    assert samples["covey_model_served", ("device", "cpu"), *echo] == 1
    assert samples["covey_models_refused",] == 1
    assert samples["covey_waiting_images", *echo] == samples["covey_calls_in_flight",] == 0
    assert samples["process_resident_memory_bytes",] > 0
