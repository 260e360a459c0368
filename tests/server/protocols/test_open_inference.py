"""inference.GRPCInferenceService over the wire, on both fronts, by messages of our own: every way in gives the right
answer. (Unmodified clients have tests of their own, in processes of their own.)"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from tests.server.conftest import Server
from tests.server.protocols.open_inference_calls import (
    Infer,
    classified,
    encoded,
    error,
    infer,
    probabilities,
    raw,
)
from tests.server.protocols.test_service import images, png

from covey_proto.inference import open_inference_pb2 as pb
from covey_server.calls.call import Call
from covey_server.calls.status import Status
from covey_server.protocols.open_inference import inputs


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


class Unanswered(Call):
    def reply(self, payload: bytes) -> None:
        raise AssertionError

    def fail(self, status: Status) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("own_us", "timeout_us", "expected_us"),
    [(None, None, None), (None, 5, 5), (7, None, 7), (7, 5, 5), (7, 9, 7), (7, 0, 7), (None, 0, None)],
)
def test_the_shorter_of_a_timeout_and_the_callers_deadline_counts(
    own_us: int | None, timeout_us: int | None, expected_us: int | None
) -> None:
    arrived_ns = 1_000_000
    call = Unanswered(b"", "peer", arrived_ns, None if own_us is None else arrived_ns + own_us * 1_000)
    request = pb.ModelInferRequest()
    if timeout_us is not None:
        request.parameters["timeout"].int64_param = timeout_us
    inputs.shorten_deadline(call, request)
    assert call.deadline_ns == (None if expected_us is None else arrived_ns + expected_us * 1_000)
