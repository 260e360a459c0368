"""Models whose labels are independent: answers hold all labels at or above their threshold, and say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.processes import fetch
from hypothesis import given as for_any
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer
from tests.server.fronts.stream_calls import ask_all
from tests.server.protocols.open_inference_calls import call, encoded, infer, probabilities, raw
from tests.server.protocols.test_service import png

import covey
from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import MAX_SHARED_CLASSES, Output
from covey_server.protocols.classifier.responses import ResponseWriter

THRESHOLDS = [0.5] * 9 + [0.9]
SOME = np.array([200, 10, 255, 200, *[0] * 5, 220, *[99] * 6], np.uint8)  # the last label is below its threshold
NONE = np.array([100] * 9 + [229] + [99] * 6, np.uint8)
ALL = np.array([255] * 16, np.uint8)


@pytest.fixture
def tags(start_server: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> Server:
    """Serves `tags`, whose labels are independent, and `echo`, the default."""
    write_echo_model(tmp_path, "tags", thresholds=THRESHOLDS)
    write_echo_model(tmp_path, "echo")
    return start_server(tmp_path, default_model="echo")


def request(*images: NDArray[np.uint8], top_k: int | None = None) -> pb.ClassifyRequest:
    return pb.ClassifyRequest(
        model="tags", pixels=pb.Pixels(data=b"".join(each.tobytes() for each in images)), top_k=top_k
    )


def indices(response: pb.ClassifyResponse) -> list[list[int]]:
    return [[each.index for each in result.classes] for result in response.results]


def test_an_answer_holds_all_labels_that_reach_their_threshold(tags: Server) -> None:
    answer = tags.classify(request(SOME, NONE, ALL))
    assert indices(answer) == [[2, 0, 3], [], list(range(10))]
    assert answer.answer == pb.ModelInfo.ANSWER_INDEPENDENT
    assert not any(result.HasField("error") for result in answer.results)
    best = answer.results[0].classes[0]
    assert (best.label, best.probability) == ("class 2", 1.0)
    assert indices(tags.classify(request(NONE))) == [[]]
    assert answer.timing.batch_size >= 1


@pytest.mark.parametrize(("top_k", "expected"), [(1, [2]), (2, [2, 0]), (3, [2, 0, 3]), (10, [2, 0, 3])])
def test_top_k_is_how_many_at_the_most(tags: Server, top_k: int, expected: list[int]) -> None:
    assert indices(tags.classify(request(SOME, NONE, top_k=top_k))) == [expected, []]


def test_a_top_k_of_too_many_is_refused(tags: Server) -> None:
    _, details = tags.error(request(SOME, top_k=11))
    assert "top_k is 11; expected 1 to 10" in details
    assert "omit it for all above their thresholds" in details


def test_files_streams_and_images_that_cannot_be_read(tags: Server) -> None:
    files = pb.EncodedImages(images=[b"no image", png(SOME.reshape(4, 4, 1)), png(NONE.reshape(4, 4, 1))])
    answer = tags.classify(pb.ClassifyRequest(model="tags", encoded=files))
    assert indices(answer) == [[], [2, 0, 3], []]
    assert [result.HasField("error") for result in answer.results] == [True, False, False]
    alone = tags.classify(pb.ClassifyRequest(model="tags", encoded=pb.EncodedImages(images=[b"no image"])))
    assert alone.answer == pb.ModelInfo.ANSWER_INDEPENDENT
    streamed = ask_all(tags, [pb.ClassifyStreamRequest(id="a", request=request(SOME, NONE)).SerializeToString()])
    assert indices(streamed["a"].response) == [[2, 0, 3], []]
    metrics = fetch(tags.metrics_url)
    assert 'covey_requests_total{code="OK",model="tags",protocol="grpc",version="1"} 3.0' in metrics


def test_exclusive_models_beside_it_say_nothing_new(tags: Server) -> None:
    answer = tags.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=NONE.tobytes())))
    assert len(answer.results[0].classes) == 5
    assert answer.answer == pb.ModelInfo.ANSWER_UNSPECIFIED
    assert not any(field.number == 5 for field, _ in answer.ListFields())


def test_the_sdk(tags: Server) -> None:
    with covey.Client(tags.target) as client:
        some, none = client.classify([SOME.reshape(4, 4, 1), NONE.reshape(4, 4, 1)], model="tags")
        assert some.labels == ("class 2", "class 0", "class 3")
        assert (some.label, some.index, some.independent) == ("class 2", 2, True)
        assert (none.labels, none.classes, none.error) == ((), (), None)
        with pytest.raises(covey.NoLabel, match="no label reached its threshold"):
            _ = none.label
        (again,) = client.classify_many([NONE.reshape(4, 4, 1)], model="tags")
        assert again.labels == ()
        one = client.classify(SOME.reshape(4, 4, 1))
        assert (one.labels, one.independent) == (("class 2",), False)
        model = client.model("tags")
        assert model.independent
        assert model.thresholds == tuple(THRESHOLDS)
        assert (client.model("echo").independent, client.model("echo").thresholds) == (False, ())


def test_the_open_inference_protocol(tags: Server) -> None:
    pixels = np.stack([SOME, NONE]).reshape(2, 4, 4, 1)
    answer = infer(tags, raw(pixels, model_name="tags"))
    assert infer(tags, raw(pixels, model_name="tags")) == answer, "the fast way says the same"
    assert probabilities(answer) == pytest.approx(pixels.reshape(2, -1)[:, :10] / 255)
    assert answer.parameters["answer"].string_param == "independent"
    asked = raw(pixels, model_name="tags")
    asked.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    best = infer(tags, asked)
    assert list(best.outputs[0].shape) == [2, 2], "rows of one length, whatever the thresholds"
    assert b"0.898039:9:class 9" in best.raw_output_contents[0]
    assert best.parameters["answer"].string_param == "independent"
    metadata = call(tags, "ModelMetadata", oip.ModelMetadataRequest(name="tags"), oip.ModelMetadataResponse)
    assert metadata.properties["answer"] == "independent"
    assert metadata.properties["thresholds"] == "0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.9"
    config = call(tags, "ModelConfig", oip.ModelConfigRequest(name="tags"), oip.ModelConfigResponse).config
    assert config.parameters["answer"].string_value == "independent"
    infer(tags, encoded([png(SOME.reshape(4, 4, 1))], model_name="tags"))


def test_there_exclusive_models_say_nothing_new(tags: Server) -> None:
    answer = infer(tags, raw(NONE.reshape(1, 4, 4, 1)))
    assert not answer.parameters
    metadata = call(tags, "ModelMetadata", oip.ModelMetadataRequest(name="echo"), oip.ModelMetadataResponse)
    assert set(metadata.properties) == {"other_input"}


@for_any(
    labels=st.integers(1, 300),
    rows=st.integers(1, 6),
    k=st.integers(1, 300),
    seed=st.integers(0, 1000),
    own=st.booleans(),
)
def test_any_answer_is_what_plain_python_gives(labels: int, rows: int, k: int, seed: int, own: bool) -> None:
    k = min(k, labels)
    chance = np.random.default_rng(seed)
    values = chance.integers(0, 12, (rows, labels)).astype(np.float32) / np.float32(11)  # many are equal
    thresholds = (chance.integers(0, 12, labels) / 11 if own else np.full(labels, 0.5)).astype(np.float32)
    writer = ResponseWriter("m", 1, "cpu", [f"l{place}" for place in range(labels)], thresholds)
    written = b"".join((*writer.results(Output(values), k, 0, rows), writer.tail(3, 1, 1, rows)))
    assert len(written) <= rows * writer.row_bytes[k] + 64
    found = indices(pb.ClassifyResponse.FromString(written))
    for row, got in zip(values, found, strict=True):
        given = [place for place in range(labels) if row[place] >= thresholds[place]]
        assert got == sorted(given, key=lambda place: (-row[place], place))[:k]


def test_many_labels_are_written_in_pieces_and_alike() -> None:
    """Neither ranked for the whole batch nor in one piece."""
    labels, rows = 6000, 20
    assert labels * rows > MAX_SHARED_CLASSES
    values = np.random.default_rng(1).random((rows, labels), np.float32)
    writer = ResponseWriter("m", 1, "cpu", [f"l{place}" for place in range(labels)], np.full(labels, 0.1, np.float32))
    output = Output(values)
    parts = writer.results(output, labels, 3, 2)
    found = indices(pb.ClassifyResponse.FromString(b"".join(parts)))
    for row, got in zip(values[3:5], found, strict=True):
        order = np.argsort(-row, kind="stable")
        assert got == order[row[order] >= np.float32(0.1)].tolist()


def test_a_row_that_is_not_finite_is_an_error_and_no_empty_answer() -> None:
    values = np.array([[0.9, 0.1], [np.nan, 0.9], [np.inf, 0.0]], np.float32)
    writer = ResponseWriter("m", 1, "cpu", ["a", "b"], np.full(2, 0.5, np.float32))
    answer = pb.ClassifyResponse.FromString(b"".join(writer.results(Output(values), 2, 0, 3)))
    assert indices(answer) == [[0], [], []]
    assert [result.error.reason for result in answer.results] == [0, 3, 3]
