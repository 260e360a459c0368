"""An image's embedding is answered where it is asked for, and is not computed where it is not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.batching.test_worker import start
from tests.server.conftest import Server, running_servers
from tests.server.fakes import FakeModel, FakeRequest, make_request, put
from tests.server.fronts.stream_calls import ask_all
from tests.server.http.asking import ask
from tests.server.protocols.open_inference_calls import call, encoded, error, infer, raw
from tests.server.protocols.test_service import png

from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.batcher import Batcher
from covey_server.batching.output import Output
from covey_server.batching.request import Buffer
from covey_server.errors import RequestTooLarge
from covey_server.inference.engine import Engine
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.rest.classify import _write_classified

NAN_AT = 77
SIZE = 16  # all pixels / 255 are the embedding
IMAGES = np.random.default_rng(0).integers(100, 256, (20, 4, 4, 1), dtype=np.uint8)
NO_ANSWER = np.array([*[0] * 15, NAN_AT], np.uint8).reshape(4, 4, 1)


@pytest.fixture(scope="module")
def server(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """Serves `deep`, which has embeddings, `both`, which also tells unknown images, and `echo`, the default."""
    folder = tmp_path_factory.mktemp("models")
    write_echo_model(folder, "deep", embedding=True, nan_at=NAN_AT)
    write_echo_model(folder, "both", embedding=True, known_from=200 / 255)
    write_echo_model(folder, "echo")
    with running_servers(front) as start:
        yield start(folder, default_model="echo", max_batch_size=8)


def expected(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(-1, SIZE).astype(np.float32) * np.float32(1 / 255)


def vectors(answer: pb.ClassifyResponse) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(result.embedding, "<f4") for result in answer.results])


def request_of(images: NDArray[np.uint8], **fields: Any) -> pb.ClassifyRequest:
    pixels = pb.Pixels(data=images.tobytes())
    return pb.ClassifyRequest(**{"model": "deep", "pixels": pixels, "embedding": True, **fields})


def without_timing(answer: pb.ClassifyResponse) -> pb.ClassifyResponse:
    answer.ClearField("timing")
    return answer


@pytest.mark.parametrize("count", [1, 3, 20])  # 20 are three batches
def test_each_result_has_it(server: Server, count: int) -> None:
    images = IMAGES[:count]
    for _ in range(2):
        answer = server.classify(request_of(images))
        np.testing.assert_array_equal(vectors(answer), expected(images))
    plain = without_timing(server.classify(request_of(images, embedding=False)))
    for result in answer.results:
        result.ClearField("embedding")
    assert without_timing(answer) == plain, "nothing else differs"


def test_beside_whether_it_is_known(server: Server) -> None:
    answer = server.classify(request_of(IMAGES[:4], model="both", top_k=2))
    np.testing.assert_array_equal(vectors(answer), expected(IMAGES[:4]))
    known = [bool(image[:10].max() >= 200) for image in IMAGES[:4].reshape(4, SIZE)]
    assert [result.known for result in answer.results] == known


def test_files_of_which_some_cannot_be_read(server: Server) -> None:
    files = [png(IMAGES[0]), b"no image", png(NO_ANSWER), png(IMAGES[1])]
    request = pb.ClassifyRequest(model="deep", encoded=pb.EncodedImages(images=files), embedding=True)
    results = server.classify(request).results
    assert [result.HasField("error") for result in results] == [False, True, True, False]
    assert [len(result.embedding) for result in results] == [4 * SIZE, 0, 0, 4 * SIZE]
    np.testing.assert_array_equal(np.frombuffer(results[3].embedding, "<f4"), expected(IMAGES[1])[0])


def test_streams_have_it(server: Server) -> None:
    element = pb.ClassifyStreamRequest(id="a", request=request_of(IMAGES[:2]))
    streamed = ask_all(server, [element.SerializeToString()])
    np.testing.assert_array_equal(vectors(streamed["a"].response), expected(IMAGES[:2]))


def test_a_model_without_one_refuses(server: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        server.classify(request_of(IMAGES[:1], model="echo"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "model 'echo' version 1 does not publish" in (caught.value.details() or "")
    assert not server.classify(request_of(IMAGES[:1], model="echo", embedding=False)).results[0].embedding


def test_models_tell_its_size_and_their_digest(server: Server) -> None:
    models = json.loads(ask(server.http_port, "GET", "/v1/models").body)["models"]
    found = {each["name"]: (each["info"]["embedding_size"], len(each["serving"]["digest"])) for each in models}
    assert found == {"both": (SIZE, 64), "deep": (SIZE, 64), "echo": (0, 64)}
    assert len({each["serving"]["digest"] for each in models}) == 3


def test_a_row_that_is_not_finite_is_an_error_of_its_image() -> None:
    writer = ResponseWriter("m", 1, "cpu", ["a", "b"], embedding_size=2)
    output = Output(np.array([[0.25, 0.75], [0.5, 0.5]], np.float32))
    rows = writer.with_embeddings(writer.results(output, 2, 0, 2), np.array([[1, 2], [np.inf, 0]], np.float32))
    good, bad = pb.ClassifyResponse.FromString(b"".join(rows)).results
    assert np.frombuffer(good.embedding, "<f4").tolist() == [1, 2]
    assert [each.label for each in good.classes] == ["b", "a"]
    assert bad.error.reason == pb.ImageError.REASON_NO_ANSWER
    assert not bad.embedding


@pytest.mark.parametrize("size", [1, 31, 32, 5000])
def test_rows_are_no_longer_than_they_may_be(size: int) -> None:
    writer = ResponseWriter("m", 1, "cpu", ["a"], embedding_size=size)
    rows = writer.with_embeddings(
        writer.results(Output(np.ones((1, 1), np.float32)), 1, 0, 1), np.ones((1, size), np.float32)
    )
    assert len(rows[0]) <= writer.row_bytes[1] + writer.embedding_bytes


class TestHttp:
    def test_in_the_query(self, server: Server) -> None:
        path = "/v1/models/deep/classify"
        answer = ask(server.http_port, "POST", f"{path}?embedding=true&top_k=1", png(IMAGES[0])).json
        assert np.array_equal(np.array(answer["results"][0]["embedding"], np.float32), expected(IMAGES[0])[0])
        for query in ("", "?embedding=false"):
            plain = ask(server.http_port, "POST", f"{path}{query}", png(IMAGES[0])).json
            assert set(plain["results"][0]) == {"classes"}

    def test_in_json(self, server: Server) -> None:
        body = json.dumps({"images": [base64.b64encode(png(each)).decode() for each in IMAGES[:2]], "embedding": True})
        answer = ask(
            server.http_port, "POST", "/v1/models/deep/classify", body.encode(), {"Content-Type": "application/json"}
        ).json
        found = np.array([each["embedding"] for each in answer["results"]], np.float32)
        np.testing.assert_array_equal(found, expected(IMAGES[:2]))

    @pytest.mark.parametrize("value", ["yes", "2", "", "TRUE"])
    def test_what_is_neither_is_refused(self, server: Server, value: str) -> None:
        answer = ask(server.http_port, "POST", f"/v1/models/deep/classify?embedding={value}", png(IMAGES[0]))
        assert answer.status == 400
        assert "expected true or false" in answer.json["detail"]

    def test_a_model_without_one_refuses(self, server: Server) -> None:
        answer = ask(server.http_port, "POST", "/v1/models/echo/classify?embedding=true", png(IMAGES[0]))
        assert answer.status == 400
        assert "does not publish" in answer.json["detail"]

    def test_too_many_numbers_are_refused(self) -> None:
        result = pb.Result(classes=[pb.Class(label="a")], embedding=bytes(4 << 10))
        write = partial(_write_classified, is_one=False, is_open_ended=False, has_embeddings=True)
        few = pb.ClassifyResponse(results=[result] * 256).SerializeToString()
        assert len(json.loads(write(few))["results"][255]["embedding"]) == 1024
        with pytest.raises(RequestTooLarge, match=r"the answer's embeddings have 1,052,672 bytes"):
            write(few + pb.ClassifyResponse(results=[result]).SerializeToString())

    def test_open_inference(self, server: Server) -> None:
        body = (
            b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,4,4,1],"data":%s}],'
            b'"outputs":[{"name":"embedding"}]}' % str(IMAGES[0].ravel().tolist()).encode()
        )
        answer = ask(server.http_port, "POST", "/v2/models/deep/infer", body).json
        (output,) = answer["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [1, SIZE])
        assert np.array_equal(np.array(output["data"], np.float32), expected(IMAGES[0])[0])


class TestOpenInference:
    def asking(self, *outputs: str, count: int = 2, k: int = 0, **fields: Any) -> oip.ModelInferRequest:
        request = raw(IMAGES[:count], **{"model_name": "both", **fields})
        for name in outputs:
            output = request.outputs.add(name=name)
            if k and name == "probabilities":
                output.parameters["classification"].int64_param = k
        return request

    @pytest.mark.parametrize("count", [1, 2, 20])
    @pytest.mark.parametrize(
        "outputs", [("embedding",), ("embedding", "probabilities"), ("known", "embedding", "probabilities")]
    )
    def test_it_is_an_output_by_name(self, server: Server, outputs: tuple[str, ...], count: int) -> None:
        plain = infer(server, self.asking(count=count))
        answer = infer(server, self.asking(*outputs, count=count, id="mine"))
        ordered = [name for name in ("probabilities", "known", "embedding") if name in outputs]
        assert [each.name for each in answer.outputs] == ordered
        assert list(answer.outputs[-1].shape) == [count, SIZE]
        found = np.frombuffer(answer.raw_output_contents[-1], "<f4").reshape(count, SIZE)
        np.testing.assert_array_equal(found, expected(IMAGES[:count]))
        if "probabilities" in outputs:
            assert answer.raw_output_contents[0] == plain.raw_output_contents[0]
        assert answer.id == "mine"

    def test_beside_classes_and_of_files(self, server: Server) -> None:
        answer = infer(server, self.asking("probabilities", "embedding", k=3))
        assert [list(each.shape) for each in answer.outputs] == [[2, 3], [2, SIZE]]
        request = encoded([png(each) for each in IMAGES[:2]], model_name="both")
        request.outputs.add(name="embedding")
        (content,) = infer(server, request).raw_output_contents
        np.testing.assert_array_equal(np.frombuffer(content, "<f4").reshape(2, SIZE), expected(IMAGES[:2]))

    def test_where_it_is_not_named_it_is_not_answered(self, server: Server) -> None:
        for outputs in ((), ("probabilities",)):
            assert [each.name for each in infer(server, self.asking(*outputs)).outputs] == ["probabilities"]

    @pytest.mark.parametrize(("model", "outputs"), [("echo", ("embedding",)), ("both", ("embedding", "embedding"))])
    def test_what_cannot_be_given_is_refused(self, server: Server, model: str, outputs: tuple[str, ...]) -> None:
        code, details = error(server, self.asking(*outputs, model_name=model))
        assert code == "INVALID_ARGUMENT"
        assert "'embedding'" in details

    def test_models_are_described_with_it(self, server: Server) -> None:
        metadata = call(server, "ModelMetadata", oip.ModelMetadataRequest(name="both"), oip.ModelMetadataResponse)
        config = call(server, "ModelConfig", oip.ModelConfigRequest(name="both"), oip.ModelConfigResponse).config
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs][-1] == (
            "embedding",
            "FP32",
            [-1, SIZE],
        )
        assert (config.output[-1].name, list(config.output[-1].dims)) == ("embedding", [SIZE])


class _Deep(FakeModel):
    """Notes by which way each batch was run."""

    embedding_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[str] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs.append("plain")
        return super().run(images)

    def run_with_embedding(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.runs.append("both")
        found = super().run(images)
        return found, -found


class _Asking(FakeRequest):
    """Its rows are its embeddings."""

    wants_embedding = True

    def write_rows(self, output: Output, first: int, count: int) -> list[Buffer]:  # type: ignore[override]
        assert output.embedding is not None
        return [row.tobytes() for row in output.embedding[first : first + count]]


def asking(model: _Deep, count: int) -> _Asking:
    return _Asking(model, make_request(model, count=count).images)


class TestBatches:
    """One run gives both outputs if any request of the batch asks, and only then."""

    def run(self, *requests: FakeRequest) -> None:
        batcher = Batcher()
        put(batcher, *requests)
        workers = start(batcher)
        assert all(request.answered.wait(30) for request in requests)
        batcher.close()
        assert workers.join(30)

    def test_nobody_asks(self) -> None:
        model = _Deep()
        self.run(make_request(model), make_request(model, 5))
        assert model.runs == ["plain"]

    def test_one_of_several_asks(self) -> None:
        model = _Deep()
        plain, deep = make_request(model, 5, count=2), asking(model, 2)
        self.run(plain, deep)
        assert model.runs == ["both"]
        assert plain.got_its_own()
        np.testing.assert_array_equal(deep.answers[0], -deep.images.reshape(2, -1).astype(np.float32))

    def test_a_request_of_several_batches(self) -> None:
        model = _Deep()
        deep = asking(model, 20)
        self.run(deep, make_request(model))
        assert set(model.runs) == {"both"}
        np.testing.assert_array_equal(deep.answers[0], -deep.images.reshape(20, -1).astype(np.float32))

    def test_after_a_failure_the_halves_know_it_still(self) -> None:
        model = _Deep()
        model.guilty = {9}
        plain, deep, guilty = make_request(model), asking(model, 2), make_request(model, 9)
        self.run(plain, deep, guilty)
        assert guilty.error is not None
        assert plain.got_its_own()
        np.testing.assert_array_equal(deep.answers[0], -deep.images.reshape(2, -1).astype(np.float32))


def test_the_engine_is_asked_for_one_output(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """Of a file that has both."""
    engine = Engine(write_echo_model(tmp_path, embedding=True))
    asked: list[list[str]] = []
    session = engine._session

    class Noting:
        def run(self, names: list[str], feeds: dict[str, NDArray[np.uint8]]) -> Any:  # noqa: ANN401 - as onnxruntime's
            asked.append(names)
            return session.run(names, feeds)

    engine._session = Noting()
    engine.run(IMAGES[:1])
    engine.run_with_embedding(IMAGES[:1])
    assert asked == [["probabilities"], ["probabilities", "embedding"]]
