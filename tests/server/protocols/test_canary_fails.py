"""A call that fails on a canary is answered by the served version, as if there were no canary, by whatever way it
came."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.conftest import WriteModel
from tests.server.conftest import Server, StartServer, running_servers
from tests.server.fronts.stream_calls import ask_all
from tests.server.fronts.test_principals import Limited, bearer, table
from tests.server.http.asking import ask
from tests.server.observability.test_canaries import state
from tests.server.protocols.open_inference_calls import Infer, encoded, infer, raw, with_contents
from tests.server.protocols.test_open_inference import Unanswered
from tests.waiting import wait_until

from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.errors import EngineFailed, Overloaded
from covey_server.inference.served_model import ServedModel
from covey_server.protocols import canaries

BAD = bytes([255, *range(15)])  # an image that each canary here fails on
GOOD = bytes(range(16))
MANY = (GOOD * 9 + BAD) * 2  # more than a batch holds


def wide(level: int = 255) -> bytes:
    """A file whose middle is all that the canary sees of it, and not what version 1 does."""
    pixels = np.repeat(np.array([[0] * 4 + [level] * 4 + [9] * 4], np.uint8), 4, axis=0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


Found = tuple[int, object]
"""The version that answered, and what it answered."""


def classified(answer: pb.ClassifyResponse) -> Found:
    return answer.version, [result.SerializeToString() for result in answer.results]


def inferred(answer: oip.ModelInferResponse) -> Found:
    return int(answer.model_version), list(answer.raw_output_contents)


def by_pixels(server: Server, version: int, data: bytes = GOOD + BAD) -> Found:
    return classified(server.classify(pb.ClassifyRequest(version=version, pixels=pb.Pixels(data=data), top_k=3)))


def by_many_pixels(server: Server, version: int) -> Found:
    return by_pixels(server, version, MANY)


def by_files(server: Server, version: int, images: tuple[bytes, ...] = (wide(), wide(90))) -> Found:
    return classified(server.classify(pb.ClassifyRequest(version=version, encoded=pb.EncodedImages(images=images))))


def by_files_one_of_which_is_damaged(server: Server, version: int) -> Found:
    return by_files(server, version, (wide(), b"no image"))


def by_stream(server: Server, version: int) -> Found:
    request = pb.ClassifyRequest(version=version, pixels=pb.Pixels(data=BAD))
    (answer,) = ask_all(server, [pb.ClassifyStreamRequest(id="a", request=request).SerializeToString()]).values()
    return classified(answer.response)


def named(version: int) -> str:
    return str(version) if version else ""


def by_raw_tensor(server: Server, version: int) -> Found:
    pixels = np.frombuffer(GOOD + BAD, np.uint8).reshape(2, 4, 4, 1)
    return inferred(infer(server, raw(pixels, model_name="echo", model_version=named(version))))


def by_ranked_classes(server: Server, version: int) -> Found:
    output = oip.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    output.parameters["classification"].int64_param = 2
    request = raw(np.frombuffer(BAD, np.uint8).reshape(1, 4, 4, 1), model_name="echo", outputs=[output])
    request.model_version = named(version)
    return inferred(infer(server, request))


def by_typed_tensor(server: Server, version: int) -> Found:
    tensor = Infer.InferInputTensor(name="images", datatype="UINT8", shape=(1, 4, 4, 1))
    inputs = [with_contents(tensor, uint_contents=list(BAD))]
    return inferred(infer(server, Infer(model_name="echo", model_version=named(version), inputs=inputs)))


def by_encoded_tensor(server: Server, version: int) -> Found:
    return inferred(infer(server, encoded([wide()], model_name="echo", model_version=named(version))))


def by_http(server: Server, version: int) -> Found:
    query = f"?version={version}" if version else ""
    answer = ask(server.http_port, "POST", f"/v1/models/echo/classify{query}", wide())
    assert answer.status == 200, answer.json
    return answer.json["version"], answer.json["results"]


def by_http_tensor(server: Server, version: int) -> Found:
    inputs = [{"name": "images", "shape": [1, 4, 4, 1], "datatype": "UINT8", "data": list(BAD)}]
    path = f"/v2/models/echo{f'/versions/{version}' if version else ''}/infer"
    answer = ask(server.http_port, "POST", path, json.dumps({"inputs": inputs}).encode())
    assert answer.status == 200, answer.json
    return int(answer.json["model_version"]), answer.json["outputs"]


WAYS: tuple[Callable[[Server, int], Found], ...] = (
    by_pixels, by_many_pixels, by_files, by_files_one_of_which_is_damaged, by_stream, by_raw_tensor, by_ranked_classes,
    by_typed_tensor, by_encoded_tensor, by_http, by_http_tensor,
)  # fmt: skip


@pytest.fixture(scope="module")
def start() -> Iterator[StartServer]:
    with running_servers("native") as start:
        yield start


@pytest.fixture(scope="module", params=["fails_at", "nan_at"])
def server(
    request: pytest.FixtureRequest, start: StartServer, tmp_path_factory: pytest.TempPathFactory,
    write_echo_model: WriteModel,
) -> Server:  # fmt: skip
    """All callers get version 2, which cuts the middle out of images and fails on white. So few calls decide nothing,
    and no more of them come from its model's tests."""
    models = tmp_path_factory.mktemp("models")
    with_canary(models, write_echo_model, **{request.param: 255})
    server = start(models, canary_share=1.0, max_batch_size=8)
    wait_until(lambda: state(server) == "trial")
    server.app._observers.canaries.stop(60)  # it would roll version 2 back after ten calls
    return server


def with_canary(models: Path, write_echo_model: WriteModel, **fault: int) -> None:
    write_echo_model(models, version=1)
    write_echo_model(models, version=2, resize=pb.ImageSpec.RESIZE_CENTER_CROP, **fault)
    (models / "echo" / "default-version").write_text("1")
    (models / "echo" / "canary-version").write_text("2")


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_is_the_served_versions_own(server: Server, way: Callable[[Server, int], Found]) -> None:
    expected = way(server, 1)
    assert way(server, 0) == expected
    assert expected[0] == 1
    assert canary_counts(server)[0] > 0
    server.wait_until_idle()
    wait_until(lambda: not server.app._admission.calls)
    admission = server.app._admission
    assert (admission.bytes, admission.decodes) == (admission.answer_bytes, 0), "nothing is counted twice"


def canary_counts(server: Server) -> tuple[int, int]:
    """Calls that version 2 failed on as a canary, and all others that failed."""
    tested = server.app.repository.catalog.find("echo", 2)
    return server.app._metrics.read(
        tested, lambda tally: (tally.passed_on, sum(n for (code, _), n in tally.codes.items() if code == "INTERNAL"))
    )


def test_each_failed_call_is_counted_once(server: Server) -> None:
    passed_on, failed = canary_counts(server)
    by_pixels(server, 0)
    assert canary_counts(server) == (passed_on + 1, failed)


def test_what_it_can_answer_it_answers(server: Server) -> None:
    passed_on, _ = canary_counts(server)
    assert by_pixels(server, 0, GOOD)[0] == 2
    assert canary_counts(server)[0] == passed_on


def test_who_names_the_version_gets_its_failure(
    start: StartServer, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    with_canary(tmp_path, write_echo_model, fails_at=255)
    server = start(tmp_path, canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    with pytest.raises(grpc.RpcError) as caught:
        by_pixels(server, 2)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert canary_counts(server) == (0, 1)


def test_what_fails_on_both_fails(start: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    with_canary(tmp_path, write_echo_model, fails_at=255)
    write_echo_model(tmp_path, version=1, fails_at=255)
    server = start(tmp_path, canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    with pytest.raises(grpc.RpcError) as caught:
        by_pixels(server, 0)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert canary_counts(server) == (1, 0)
    served = server.app.repository.catalog.find("echo", 1)
    assert server.app._metrics.tally(served).codes["INTERNAL", "grpc"] == 1


def test_its_principal_pays_once(start: StartServer, tmp_path: Path, write_echo_model: WriteModel) -> None:
    limited = Limited(tmp_path, start)
    with_canary(tmp_path / "models", write_echo_model, fails_at=255)
    server = limited.start(table("camera-token", "camera", "images_per_s = 20\nin_flight = 1"), canary_share=1.0)
    wait_until(lambda: state(server) == "trial")
    classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = server.channel.unary_unary("/covey.v1.Classifier/Classify")
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=MANY)).SerializeToString()  # all that it may in a second
    for _ in range(2):
        answer = pb.ClassifyResponse.FromString(classify(request, metadata=bearer("camera-token"), timeout=60))
        assert answer.version == 1
        wait_until(lambda: not server.app._admission.calls)
        limited.clock.go_on(1)


def test_a_call_that_was_refused_on_a_canary_is_as_new() -> None:
    """Streams try it again, and another version may get it."""
    call = Unanswered(b"", "peer", 0, None)
    assert (canaries.may_try_again(call), canaries.is_tried_again(call)) == (False, False)
    assert canaries.second_try(call, EngineFailed("broken")) is None
    for error, expected in ((Overloaded("full"), None), (EngineFailed("broken"), id)):
        call.again = id
        assert canaries.second_try(call, error) is expected
        assert not canaries.may_try_again(call)
    assert canaries.is_tried_again(call)
    call.forget_request()
    assert not canaries.is_tried_again(call)


def test_an_embedding_that_is_not_finite_is_a_failure(
    start: StartServer, tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By each protocol, the images in one batch and in several; each call counts once."""
    write_echo_model(tmp_path, version=1, embedding=True)
    write_echo_model(tmp_path, version=2, embedding=True)
    (tmp_path / "echo" / "default-version").write_text("1")
    (tmp_path / "echo" / "canary-version").write_text("2")
    run = ServedModel.run_with_embedding

    def spoiled(model: ServedModel, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities, embedding = run(model, images)
        return probabilities, embedding * np.float32(np.nan) if model.version == 2 else embedding

    server = start(tmp_path, canary_share=1.0, max_batch_size=8)
    wait_until(lambda: state(server) == "trial")
    server.app._observers.canaries.stop(60)
    monkeypatch.setattr(ServedModel, "run_with_embedding", spoiled)
    output = oip.ModelInferRequest.InferRequestedOutputTensor(name="embedding")
    for data in (GOOD, MANY):
        answer = server.classify(pb.ClassifyRequest(pixels=pb.Pixels(data=data), embedding=True))
        assert answer.version == 1
        assert {len(result.embedding) for result in answer.results} == {64}
        pixels = np.frombuffer(data, np.uint8).reshape(-1, 4, 4, 1)
        assert inferred(infer(server, raw(pixels, model_name="echo", outputs=[output])))[0] == 1
    server.wait_until_idle()
    assert canary_counts(server) == (4, 0)
    canary, served = (server.app.repository.catalog.find("echo", version) for version in (2, 1))
    assert server.app._metrics.tally(canary).codes["OK", "grpc"] == 0
    assert server.app._metrics.tally(served).codes["OK", "grpc"] == 4


def test_a_call_that_failed_before_it_was_counted_is_as_new() -> None:
    """Else its principal would not pay for its images, and their bytes would not be counted."""
    call = Unanswered(b"", "peer", 0, None)
    call.again = id
    assert canaries.second_try(call, EngineFailed("broken"), is_counted=False) is id
    assert not canaries.is_tried_again(call)
    assert not canaries.may_try_again(call)
