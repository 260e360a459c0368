"""A row of NaN is no answer: the image gets an error, its neighbours their answers, and the metrics a count."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc
import numpy as np
import pytest
from bench.processes import fetch
from tests.conftest import WriteModel
from tests.server.conftest import StartServer
from tests.server.fronts.stream_calls import ask_all
from tests.server.protocols.open_inference_calls import error, infer, raw

from covey_proto.inference import open_inference_pb2 as pb2
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import NOT_FINITE, Output

GOOD, BAD = bytes(range(16)), bytes([*range(15), 77])


def test_only_the_image_whose_row_is_not_finite_gets_an_error(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, caplog: pytest.LogCaptureFixture
) -> None:
    write_echo_model(tmp_path, nan_at=77)
    server = start_server(tmp_path)
    with caplog.at_level(logging.ERROR):
        answer = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=GOOD + BAD + GOOD), top_k=3))
        single = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=BAD)))
    for result in (answer.results[1], single.results[0]):
        assert not result.classes
        assert result.error.reason == pb.ImageError.REASON_NO_ANSWER
        assert result.error.message == NOT_FINITE
    for place in (0, 2):
        assert [each.index for each in answer.results[place].classes] == [9, 8, 7]
    assert [record.message for record in caplog.records] == [
        "the model's answers for 1 of 3 images are not finite (NaN or infinity); check the model"
    ], "once in ten seconds"
    assert 'covey_invalid_outputs_total{model="echo",version="1"} 2.0' in fetch(server.metrics_url)


@pytest.mark.parametrize("top_k", [0, 3])
def test_the_open_inference_protocol_which_has_no_errors_of_images_fails_that_call(
    start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel, top_k: int
) -> None:
    write_echo_model(tmp_path, nan_at=77)
    server = start_server(tmp_path)
    output = pb2.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    if top_k:
        output.parameters["classification"].int64_param = top_k
    images = np.frombuffer(GOOD + BAD, np.uint8).reshape(2, 4, 4, 1)
    assert error(server, raw(images, model_name="echo", outputs=[output])) == (
        "INTERNAL",
        f"image 2 of 2: {NOT_FINITE}",
    )
    assert error(server, raw(images[1:], model_name="echo", outputs=[output])) == ("INTERNAL", NOT_FINITE)
    infer(server, raw(images[:1], model_name="echo", outputs=[output]))
    metrics = fetch(server.metrics_url)
    assert 'covey_requests_total{code="OK",model="echo",protocol="grpc",version="1"} 1.0' in metrics
    assert 'covey_requests_total{code="INTERNAL",model="echo",protocol="grpc",version="1"} 2.0' in metrics


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_which_rows_are_finite(wrong: float) -> None:
    probabilities = np.full((4, 5), 0.2, np.float32)
    assert Output(probabilities).finite is None
    probabilities[2, 4] = wrong
    probabilities[3, 0] = -np.inf if wrong == np.inf else wrong
    output = Output(probabilities)
    assert output.finite is not None
    assert output.finite.tolist() == [True, True, False, False]
    assert (output.are_finite(0, 2), output.are_finite(1, 2)) == (True, False)


def test_a_sum_that_overflows_is_no_row_that_is_not_finite() -> None:
    assert Output(np.full((2, 3), 3e38, np.float32)).finite is None


def test_so_it_is_in_streams(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path, nan_at=77)
    server = start_server(tmp_path)
    requests = {"good": GOOD, "bad": BAD, "both": GOOD + BAD}
    found = ask_all(
        server,
        [
            pb.ClassifyStreamRequest(
                id=name, request=pb.ClassifyRequest(pixels=pb.Pixels(data=pixels))
            ).SerializeToString()
            for name, pixels in requests.items()
        ],
    )
    reasons = {name: [result.error.reason for result in answer.response.results] for name, answer in found.items()}
    none, no_answer = pb.ImageError.REASON_UNSPECIFIED, pb.ImageError.REASON_NO_ANSWER
    assert reasons == {"good": [none], "bad": [no_answer], "both": [none, no_answer]}

    images = {name: np.frombuffer(pixels, np.uint8).reshape(-1, 4, 4, 1) for name, pixels in requests.items()}
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = server.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer"
    )
    messages = [raw(pixels, model_name="echo", id=name).SerializeToString() for name, pixels in images.items()]
    answers = [pb2.ModelStreamInferResponse.FromString(each) for each in call(iter(messages), timeout=20)]
    errors = {answer.infer_response.id: answer.error_message for answer in answers}
    assert errors.keys() == requests.keys()
    assert not errors["good"]
    assert NOT_FINITE in errors["bad"]
    assert NOT_FINITE in errors["both"]
    assert 'covey_invalid_outputs_total{model="echo",version="1"} 4.0' in fetch(server.metrics_url)
