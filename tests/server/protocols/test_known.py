"""Each result says whether its image is of a known class, where the model can tell; others are as before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import WriteModel
from tests.server.conftest import Server, running_servers
from tests.server.fronts.stream_calls import ask_all
from tests.server.http.asking import ask
from tests.server.protocols.open_inference_calls import call, encoded, error, infer, raw
from tests.server.protocols.test_service import png

import covey
from covey_proto.inference import open_inference_pb2 as oip
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.batching.output import MAX_SHARED_CLASSES, PIECE_CLASSES, Output
from covey_server.protocols.classifier.responses import ResponseWriter
from covey_server.protocols.open_inference.outputs import OutputWriter
from covey_server.protocols.rest.classify import _write_classified

NAN_AT = 77
FROM = 200 / 255  # what the pixel 200 is answered with: at the threshold is known
KNOWN = np.array([10, 200, *[0] * 14], np.uint8)
UNKNOWN = np.array([199, 198, *[0] * 13, 255], np.uint8)  # its brightest pixel is no class
NO_ANSWER = np.array([*[0] * 15, NAN_AT], np.uint8)


@pytest.fixture(scope="module")
def server(front: str, tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    """Serves `wary`, which can tell, and `echo`, the default."""
    folder = tmp_path_factory.mktemp("models")
    write_echo_model(folder, "wary", known_from=float(np.float32(200) * np.float32(1 / 255)), nan_at=NAN_AT)
    write_echo_model(folder, "echo")
    with running_servers(front) as start:
        yield start(folder, default_model="echo", max_batch_size=8)


def classify(server: Server, *images: NDArray[np.uint8], **fields: Any) -> list[bool | None]:
    pixels = pb.Pixels(data=b"".join(each.tobytes() for each in images))
    answer = server.classify(pb.ClassifyRequest(**{"model": "wary", "pixels": pixels, **fields}))
    return of(answer)


def of(answer: pb.ClassifyResponse) -> list[bool | None]:
    return [result.known if result.HasField("known") else None for result in answer.results]


@pytest.mark.parametrize("top_k", [None, 1, 10])
def test_each_result_says_it(server: Server, top_k: int | None) -> None:
    for _ in range(2):  # the second by the fast way
        assert classify(server, KNOWN, UNKNOWN, KNOWN, top_k=top_k) == [True, False, True]
        assert classify(server, UNKNOWN, top_k=top_k) == [False]
    assert classify(server, *[UNKNOWN] * 9, *[KNOWN] * 11, top_k=top_k) == [False] * 9 + [True] * 11  # three batches


def test_an_image_without_an_answer_says_nothing(server: Server) -> None:
    assert classify(server, KNOWN, NO_ANSWER, UNKNOWN) == [True, None, False]
    files = pb.EncodedImages(images=[b"no image", *[png(each.reshape(4, 4, 1)) for each in (UNKNOWN, KNOWN)]])
    assert of(server.classify(pb.ClassifyRequest(model="wary", encoded=files))) == [None, False, True]


def test_streams_say_it(server: Server) -> None:
    request = pb.ClassifyRequest(model="wary", pixels=pb.Pixels(data=KNOWN.tobytes() + UNKNOWN.tobytes()))
    streamed = ask_all(server, [pb.ClassifyStreamRequest(id="a", request=request).SerializeToString()])
    assert of(streamed["a"].response) == [True, False]


def test_models_that_cannot_tell_say_nothing(server: Server) -> None:
    assert classify(server, KNOWN, UNKNOWN, model="echo") == [None, None]
    answer = ask(server.http_port, "POST", "/v1/models/echo/classify", png(KNOWN.reshape(4, 4, 1))).json
    assert set(answer["results"][0]) == {"classes"}


def test_their_answers_are_byte_for_byte_what_they_were() -> None:
    """Those of the commit before there was a threshold."""
    output = Output(np.array([[0.25, 0.75], [1, 0]], np.float32))
    writer, tensors = ResponseWriter("m", 1, "cpu", ["a", "b"]), OutputWriter("m", 1, ["a", "b"])
    native = b"".join(writer.results(output, 2, 0, 2)) + writer.tail(3, 1, 1, 2)
    assert native == (
        b"\n\x16\n\n\n\x01b\x10\x01\x1d\x00\x00@?\n\x08\n\x01a\x1d\x00\x00\x80>\n\x16\n\x08\n\x01a\x1d\x00\x00\x80?"
        b'\n\n\n\x01b\x10\x01\x1d\x00\x00\x00\x00\x12\x01m\x18\x01"\x0f\x08\x03\x10\x01\x18\x01 \x01(\x022\x03cpu'
    )
    assert tensors.write(0, "", 2, tensors.rows(output, 0, 0, 2)) == (
        b"\n\x01m\x12\x011*\x19\n\rprobabilities\x12\x04FP32\x1a\x02\x02\x022\x10\x00\x00\x80>\x00\x00@?\x00\x00\x80?"
        b"\x00\x00\x00\x00"
    )
    assert _write_classified(native, is_one=False, is_open_ended=False) == (
        b'{"results":[{"classes":[{"label":"b","index":1,"probability":0.75},{"label":"a","index":0,'
        b'"probability":0.25}]},{"classes":[{"label":"a","index":0,"probability":1},{"label":"b","index":1,'
        b'"probability":0}]}],"model":"m","version":1,"timing":{"total_us":3,"decode_us":1,"queue_us":1,'
        b'"compute_us":1,"batch_size":2,"device":"cpu"}}'
    )


@pytest.mark.parametrize("classes", [3, PIECE_CLASSES + 1, MAX_SHARED_CLASSES + 1])
def test_rows_of_any_size_are_no_longer_than_they_may_be(classes: int) -> None:
    probabilities = np.random.default_rng(0).random((3, classes), dtype=np.float32)
    probabilities[1] /= 2
    probabilities[[0, 2], 1] = 0.5
    writer = ResponseWriter("m", 1, "cpu", [f"{place}" for place in range(classes)], known_from=np.float32(0.5))
    rows = writer.results(Output(probabilities), classes, 0, 3)
    assert max(map(len, rows)) <= writer.row_bytes[classes]
    assert of(pb.ClassifyResponse.FromString(b"".join(rows))) == [True, False, True]


def test_http_says_it(server: Server) -> None:
    for image, known in ((KNOWN, True), (UNKNOWN, False)):
        answer = ask(server.http_port, "POST", "/v1/models/wary/classify?top_k=2", png(image.reshape(4, 4, 1)))
        assert answer.json["results"][0]["known"] is known
        assert len(answer.json["results"][0]["classes"]) == 2


def test_the_sdk_says_it(server: Server) -> None:
    images = [each.reshape(4, 4, 1) for each in (KNOWN, UNKNOWN, NO_ANSWER)]
    with covey.Client(server.target) as client:
        assert [each.known for each in client.classify(images, model="wary")] == [True, False, None]
        assert [each.known for each in client.classify_many(images, model="wary")] == [True, False, None]
        assert client.classify(images[0]).known is None
        assert client.model("wary").known_from == pytest.approx(FROM)
        assert client.model().known_from is None
    with covey.Client(f"http://127.0.0.1:{server.http_port}") as client:
        assert client.classify(images[1], model="wary").known is False


class TestOpenInference:
    PIXELS = np.stack([KNOWN, UNKNOWN]).reshape(2, 4, 4, 1)

    def asking(self, *outputs: str, k: int = 0, **fields: Any) -> oip.ModelInferRequest:
        request = raw(self.PIXELS, **{"model_name": "wary", **fields})
        for name in outputs:
            output = request.outputs.add(name=name)
            if k and name == "probabilities":
                output.parameters["classification"].int64_param = k
        return request

    @pytest.mark.parametrize("outputs", [("probabilities", "known"), ("known", "probabilities")])
    def test_known_is_an_output_of_its_own(self, server: Server, outputs: tuple[str, ...]) -> None:
        plain = infer(server, self.asking(id="mine"))
        answer = infer(server, self.asking(*outputs, id="mine"))
        assert [(each.name, each.datatype, list(each.shape)) for each in answer.outputs] == [
            ("probabilities", "FP32", [2, 10]),
            ("known", "BOOL", [2, 1]),
        ]
        assert list(answer.raw_output_contents) == [plain.raw_output_contents[0], b"\x01\x00"]
        assert answer.id == "mine"

    def test_it_may_be_asked_for_alone_and_beside_classes(self, server: Server) -> None:
        alone = infer(server, self.asking("known"))
        assert [each.name for each in alone.outputs] == ["known"]
        assert list(alone.raw_output_contents) == [b"\x01\x00"]
        classes = infer(server, self.asking("probabilities", "known", k=2))
        assert list(classes.outputs[0].shape) == [2, 2]
        assert b"0.784314:1:class 1" in classes.raw_output_contents[0]
        assert classes.raw_output_contents[1] == b"\x01\x00"

    @pytest.mark.parametrize("k", [0, 3])
    def test_of_more_images_than_a_batch_holds(self, server: Server, k: int) -> None:
        pixels = np.concatenate([self.PIXELS] * 10)
        request = self.asking("probabilities", "known", k=k)
        request.inputs[0].shape[0] = 20
        request.raw_input_contents[0] = pixels.tobytes()
        answer = infer(server, request)
        assert answer.raw_output_contents[1] == b"\x01\x00" * 10
        del request.outputs[1]
        assert infer(server, request).raw_output_contents[0] == answer.raw_output_contents[0]

    def test_image_files(self, server: Server) -> None:
        request = encoded([png(each) for each in self.PIXELS], model_name="wary")
        request.outputs.add(name="known")
        assert list(infer(server, request).raw_output_contents) == [b"\x01\x00"]

    def test_where_it_is_not_asked_for_nothing_changes(self, server: Server) -> None:
        for outputs in ((), ("probabilities",)):
            ours = infer(server, self.asking(*outputs))
            assert ours == infer(server, self.asking(*outputs)), "the fast way says the same"
            echo = infer(server, self.asking(*outputs, model_name="echo"))
            echo.model_name = "wary"
            assert ours == echo

    @pytest.mark.parametrize(("model", "outputs"), [("echo", ("known",)), ("wary", ("known", "known"))])
    def test_what_cannot_be_given_is_refused(self, server: Server, model: str, outputs: tuple[str, ...]) -> None:
        code, details = error(server, self.asking(*outputs, model_name=model))
        assert code == "INVALID_ARGUMENT"
        assert "'known'" in details

    def test_models_are_described_with_it(self, server: Server) -> None:
        def described(name: str) -> tuple[list[str], list[str], str]:
            metadata = call(server, "ModelMetadata", oip.ModelMetadataRequest(name=name), oip.ModelMetadataResponse)
            config = call(server, "ModelConfig", oip.ModelConfigRequest(name=name), oip.ModelConfigResponse).config
            outputs = [each.name for each in metadata.outputs]
            return outputs, [each.name for each in config.output], metadata.properties.get("known_from", "")

        assert described("wary") == (["probabilities", "known"], ["probabilities", "known"], "0.784314")
        assert described("echo") == (["probabilities"], ["probabilities"], "")

    def test_http(self, server: Server) -> None:
        body = (
            b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,4,4,1],"data":%s}],'
            b'"outputs":[{"name":"probabilities"},{"name":"known"}]}' % str(UNKNOWN.tolist()).encode()
        )
        answer = ask(server.http_port, "POST", "/v2/models/wary/infer", body).json
        assert answer["outputs"][1] == {"name": "known", "datatype": "BOOL", "shape": [1, 1], "data": [False]}
        binary = body[:-1] + b',"parameters":{"binary_data_output":true}}'
        answer_ = ask(server.http_port, "POST", "/v2/models/wary/infer", binary)
        assert answer_.body[int(answer_.headers["inference-header-content-length"]) :][-1:] == b"\x00"
        assert len(answer_.body) - int(answer_.headers["inference-header-content-length"]) == 41
