"""Imported models take their original input too: by its name, prepared as for the original, answered as it does."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as triton
from bench.processes import fetch
from numpy.typing import NDArray
from onnx import TensorProto
from tests.export.importing.onnx_models import CLASSES, SIZE, small_cnn
from tests.server.conftest import Server, running_servers
from tests.server.protocols.open_inference_calls import call, encoded, error, infer, probabilities, raw
from tests.server.protocols.test_service import png
from tests.waiting import wait_until

from covey_export.__main__ import main
from covey_proto import metadata
from covey_proto.inference import open_inference_pb2 as pb
from covey_server.calls.call import Call
from covey_server.errors import EngineFailed, RefusedModel
from covey_server.inference import original_input as original_input_module
from covey_server.inference.devices import CPU
from covey_server.inference.model_loader import ModelLoader
from covey_server.inference.original_input import OriginalInput
from covey_server.protocols import canaries
from covey_server.protocols.pipeline import Pipeline

DATATYPES = {"float32": "FP32", "float16": "FP16", "uint8": "UINT8"}
# By name: how the original is made. `net` is what most exporters write.
KINDS: dict[str, dict[str, Any]] = {
    "net": {},
    "nhwc": {"layout": "NHWC"},
    "half": {"dtype": TensorProto.FLOAT16},
    "bytes": {"dtype": TensorProto.UINT8},
    "maps": {"keeps_maps": True},
    "fixed": {"batch": 1, "flatten": "Reshape"},
    "softmax": {"last": "Softmax"},
    "tags": {"last": "Sigmoid"},
    "binary": {"classes": 1},
    "clash": {"input_name": "images", "output_name": "probabilities"},
}
OPTIONS: dict[str, tuple[str, ...]] = {"net": ("--like", "imagenet", "--bgr", "--resize", "stretch")}


def imported(models: Path, name: str) -> Path:
    """Imports the original of that name; answers where that lies."""
    source = models.parent / f"{name}.onnx"
    onnx.save(small_cnn(**KINDS[name]), source)
    assert main(["import", str(source), "--name", name, "--models", str(models), *OPTIONS.get(name, ())]) == 0
    return source


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original") / "models"
    for name in KINDS:
        imported(folder, name)
    return folder


@pytest.fixture(scope="module")
def server(front: str, models: Path) -> Iterator[Server]:
    with running_servers(front) as start:
        yield start(models, default_model="net", max_batch_size=8)


def original_input(models: Path, name: str, count: int, seed: int = 0) -> NDArray[Any]:
    (entry,) = onnx.load(models.parent / f"{name}.onnx").graph.input
    shape = [each.dim_value for each in entry.type.tensor_type.shape.dim][1:]
    values = np.random.default_rng(seed).normal(0, 1, (count, *shape))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    return (values * 40 + 128).clip(0, 255).astype(dtype) if dtype == np.uint8 else values.astype(dtype)


def by_onnxruntime(models: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """What the original file gives, one by one."""
    session = onnxruntime.InferenceSession(models.parent / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return np.concatenate([session.run(None, {entry.name: value[None]})[0] for value in values])


def request(values: NDArray[Any], name: str = "net", **fields: Any) -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=name, raw_input_contents=[values.tobytes()], **fields)
    input_name = KINDS[name].get("input_name", "data")
    made.inputs.add(name=input_name, datatype=DATATYPES[values.dtype.name], shape=values.shape)
    return made


def output(response: pb.ModelInferResponse) -> NDArray[Any]:
    (tensor,), (content,) = response.outputs, response.raw_output_contents
    dtype = {"FP32": "<f4", "FP16": "<f2"}[tensor.datatype]
    return np.frombuffer(content, dtype).reshape(*tensor.shape)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("count", [1, 3, 20])
def test_it_is_answered_as_by_the_original_file(server: Server, models: Path, name: str, count: int) -> None:
    values = original_input(models, name, count)
    response = infer(server, request(values, name, id="mine"))
    expected = by_onnxruntime(models, name, values)
    (tensor,) = response.outputs
    assert tensor.name == KINDS[name].get("output_name", "scores")
    assert (response.model_name, response.model_version, response.id) == (name, "1", "mine")
    assert output(response).shape == expected.shape
    assert output(response).dtype == expected.dtype
    np.testing.assert_allclose(output(response), expected, atol=2e-2 if name == "half" else 1e-4)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("is_binary", [True, False])
def test_it_is_answered_so_over_http(server: Server, models: Path, name: str, is_binary: bool) -> None:
    values = original_input(models, name, 3)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.http_port}")
    tensor = triton.InferInput(KINDS[name].get("input_name", "data"), values.shape, DATATYPES[values.dtype.name])
    # The client writes no FP16 in JSON.
    tensor.set_data_from_numpy(values, binary_data=is_binary or values.dtype == np.float16)
    output_name = KINDS[name].get("output_name", "scores")
    asked = [triton.InferRequestedOutput(output_name, binary_data=is_binary)]
    found = client.infer(name, [tensor], outputs=asked).as_numpy(output_name)
    client.close()
    expected = by_onnxruntime(models, name, values)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, atol=2e-2 if name == "half" else 1e-4)


def test_typed_contents_give_the_same(server: Server, models: Path) -> None:
    for name, field in (("net", "fp32_contents"), ("bytes", "uint_contents")):
        values = original_input(models, name, 3)
        typed = request(values, name)
        typed.ClearField("raw_input_contents")
        getattr(typed.inputs[0].contents, field).extend(values.ravel().tolist())
        assert np.array_equal(output(infer(server, typed)), output(infer(server, request(values, name))))


def test_typed_floats_are_not_limited_as_other_numbers_are(server: Server, models: Path) -> None:
    """They take no more memory than in the message: 5 MB here, above the 4 MB of other numbers."""
    values = original_input(models, "net", 3000)
    typed = request(values)
    typed.ClearField("raw_input_contents")
    typed.inputs[0].contents.fp32_contents.extend(values.ravel().tolist())
    np.testing.assert_allclose(output(infer(server, typed)), output(infer(server, request(values))), atol=1e-5)


def test_by_classification_its_scores_are_ranked(server: Server, models: Path) -> None:
    values = original_input(models, "net", 2)
    asked = request(values)
    asked.outputs.add(name="scores").parameters["classification"].int64_param = 2
    response = infer(server, asked)
    assert (response.outputs[0].datatype, list(response.outputs[0].shape)) == ("BYTES", [2, 2])
    best = by_onnxruntime(models, "net", values).argmax(axis=1)
    assert f":{best[0]}:class {best[0]}".encode() in response.raw_output_contents[0]
    one = request(original_input(models, "binary", 1), "binary")
    one.outputs.add(name="scores").parameters["classification"].int64_param = 2
    assert b":0:class 1" in infer(server, one).raw_output_contents[0]


def test_it_is_described_beside_the_others(server: Server) -> None:
    described = call(server, "ModelMetadata", pb.ModelMetadataRequest(name="maps"), pb.ModelMetadataResponse)
    assert [(each.name, each.datatype, list(each.shape)) for each in described.inputs] == [
        ("images", "UINT8", [-1, SIZE, SIZE, 3]),
        ("data", "FP32", [-1, 3, SIZE, SIZE]),
    ]
    assert [(each.name, each.datatype, list(each.shape)) for each in described.outputs] == [
        ("probabilities", "FP32", [-1, CLASSES]),
        ("scores", "FP32", [-1, CLASSES, 1, 1]),
    ]
    assert described.properties["original_input"].startswith("data FP32: in place of images")
    config = call(server, "ModelConfig", pb.ModelConfigRequest(name="maps"), pb.ModelConfigResponse).config
    assert [(each.name, list(each.dims)) for each in config.input] == [
        ("images", [SIZE, SIZE, 3]),
        ("data", [3, SIZE, SIZE]),
    ]
    assert [each.name for each in config.output] == ["probabilities", "scores"]


def test_an_input_that_is_named_as_one_of_the_servers_is_told_apart_by_its_type(server: Server, models: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    assert probabilities(infer(server, raw(pixels, model_name="clash"))).sum() == pytest.approx(2, abs=1e-4)
    logits = output(infer(server, request(original_input(models, "clash", 2), "clash")))
    assert logits.sum() != pytest.approx(2, abs=1e-2)


NAN = np.full((2, 3, SIZE, SIZE), 0.5, np.float32)
NAN[1, 2, 3, 4] = np.nan
INFINITE = np.where(np.isnan(NAN), -np.inf, NAN).astype(np.float32)
GOOD = np.zeros((1, 3, SIZE, SIZE), np.float32)
NCHW = f"[N, 3, {SIZE}, {SIZE}]"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            request(GOOD.transpose(0, 2, 3, 1)),
            f"expects {NCHW}, N at least 1. The axes are in another order: transpose",
        ),
        (request(GOOD[0]), f"expects {NCHW}, N at least 1. Add the batch axis in front"),
        (request(GOOD[:, :, :9]), f"has shape [1, 3, 9, {SIZE}]; model 'net' expects {NCHW}"),
        (request(GOOD[:0]), "N at least 1"),
        (request(GOOD.astype(np.uint8)), "has datatype 'UINT8'; expected FP32, prepared as for the original file"),
        (request(GOOD.astype(np.float16)), "has datatype 'FP16'; expected FP32"),
        (request(NAN), "input 'data': 1 numbers of image 2 of 2 are NaN or infinity; expected finite ones"),
        (request(INFINITE), "input 'data': 1 numbers of image 2 of 2 are NaN or infinity"),
    ],
)
def test_what_is_wrong_with_it_is_said(server: Server, made: pb.ModelInferRequest, said: str) -> None:
    status, details = error(server, made)
    assert status == "INVALID_ARGUMENT"
    assert said in details


def test_so_it_is_with_names_sizes_and_contents(server: Server) -> None:
    unknown = request(GOOD)
    unknown.inputs[0].name = "input"
    assert "'input' sent as input; send one of these alone: 'data' (FP32" in error(server, unknown)[1]
    unknown.inputs[0].name = "images"
    assert "expected UINT8. For FP32 as the original file takes it, send 'data'" in error(server, unknown)[1]
    both = request(GOOD)
    both.inputs.add(name="images", datatype="UINT8", shape=[1, SIZE, SIZE, 3])
    both.raw_input_contents.append(bytes(3 * SIZE * SIZE))
    assert "'data', 'images' sent as input; send one of these alone" in error(server, both)[1]
    short = request(GOOD)
    short.raw_input_contents[0] = short.raw_input_contents[0][:-4]
    assert (
        "input 'data' has 1,724 bytes of raw_input_contents; its shape 1 x 3 x 12 x 12 of FP32 needs 1,728"
        in error(server, short)[1]
    )
    nothing = request(GOOD)
    nothing.ClearField("raw_input_contents")
    assert "input 'data' has no data" in error(server, nothing)[1]
    few = request(GOOD)
    few.ClearField("raw_input_contents")
    few.inputs[0].contents.fp32_contents.extend([1.0] * 7)
    assert "7 values in contents.fp32_contents" in error(server, few)[1]
    large = request(GOOD.astype(np.uint8), "bytes")
    large.ClearField("raw_input_contents")
    large.inputs[0].contents.uint_contents.extend([256] * GOOD.size)
    assert "holds 256; UINT8 ends at 255" in error(server, large)[1]
    half = request(GOOD.astype(np.float16), "half")
    half.ClearField("raw_input_contents")
    half.inputs[0].contents.fp32_contents.extend([1.0] * GOOD.size)
    assert "is FP16, for which the protocol has no contents" in error(server, half)[1]
    probabilities_asked = request(GOOD)
    probabilities_asked.outputs.add(name="probabilities")
    assert "is answered with 'scores' alone. For probabilities send 'images'" in error(server, probabilities_asked)[1]
    logits_asked = raw(np.zeros((1, SIZE, SIZE, 3), np.uint8), model_name="net")
    logits_asked.outputs.add(name="scores")
    assert "'scores' asked for as output; model 'net' has one, 'probabilities'" in error(server, logits_asked)[1]


def test_all_kinds_of_callers_at_once_get_their_own_answers(server: Server, models: Path) -> None:
    prepared = original_input(models, "net", 12, seed=5)
    expected = by_onnxruntime(models, "net", prepared)
    pixels = np.random.default_rng(6).integers(0, 256, (12, SIZE, SIZE, 3), dtype=np.uint8)
    alone = np.concatenate([probabilities(infer(server, raw(image[None], model_name="net"))) for image in pixels])

    def ask(place: int) -> None:
        kind, which = place % 3, place % 12
        if kind == 0:
            np.testing.assert_allclose(output(infer(server, request(prepared[[which]])))[0], expected[which], atol=1e-4)
        else:
            made = (
                raw(pixels[[which]], model_name="net") if kind == 1 else encoded([png(pixels[which])], model_name="net")
            )
            np.testing.assert_allclose(probabilities(infer(server, made))[0], alone[which], atol=1e-5)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(240)))


def test_streams_take_it_too(server: Server, models: Path) -> None:
    values = original_input(models, "net", 4)
    method = server.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    asked = [request(values[place : place + 1], id=str(place)) for place in range(4)]
    wrong = request(NAN, id="wrong")
    answers = {each.infer_response.id: each for each in method(iter([*asked, wrong]), timeout=20)}
    expected = by_onnxruntime(models, "net", values)
    for place in range(4):
        np.testing.assert_allclose(output(answers[str(place)].infer_response)[0], expected[place], atol=1e-4)
    assert "are NaN or infinity" in answers["wrong"].error_message


def test_its_requests_count_as_those_of_the_model(front: str, models: Path) -> None:
    with running_servers(front) as start:
        server = start(models, default_model="net")
        infer(server, request(original_input(models, "maps", 3), "maps"))
        error(server, request(GOOD.astype(np.float16), "maps"))
        infer(server, raw(np.zeros((2, SIZE, SIZE, 3), np.uint8), model_name="maps"))
        metrics = fetch(server.metrics_url)
        assert 'covey_images_total{model="maps",version="1"} 5.0' in metrics
        assert 'covey_requests_total{code="OK",model="maps",protocol="grpc",version="1"} 2.0' in metrics
        assert 'covey_requests_total{code="INVALID_ARGUMENT",model="maps",protocol="grpc",version="1"} 1.0' in metrics
        assert server.app._admission.calls == 0


class TestSession:
    """It is there only once it is asked for."""

    @pytest.fixture
    def original(self, models: Path, tmp_path: Path) -> OriginalInput:
        path = tmp_path / "net/1/model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes((models / "net/1/model.onnx").read_bytes())
        found = ModelLoader(CPU, 1, 4)("net", 1, path).original
        assert found is not None
        return found

    def wait(self, original: OriginalInput) -> Exception | None:
        said: list[Exception | None] = []
        done = threading.Event()

        def go(error: Exception | None) -> None:
            said.append(error)
            done.set()

        original.engine.when_open(go)
        assert done.wait(20)
        return said[0]

    def test_it_is_started_once_however_many_wait(self, original: OriginalInput) -> None:
        assert original.engine._session is None
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(self.wait, [original] * 8)) == [None] * 8
        assert original.engine.is_open
        session = original.engine._session
        assert self.wait(original) is None
        assert original.engine._session is session

    def test_without_threads_those_who_wait_are_told(
        self, original: OriginalInput, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def start(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            failed = self.wait(original)
        assert "can't start new thread" in str(failed)
        assert self.wait(original) is None

    def test_systems_without_files_in_memory_take_bytes(
        self, original: OriginalInput, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(name: str, flags: int) -> int:
            raise PermissionError

        monkeypatch.setattr(os, "memfd_create", refuse)
        assert self.wait(original) is None

    def test_without_room_for_the_check_the_model_is_served_without_it(
        self, models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: object) -> None:
            raise RefusedModel("no memory") from OSError()

        monkeypatch.setattr(original_input_module, "require_loadable", refuse)
        assert ModelLoader(CPU, 1, 4)("net", 1, models / "net/1/model.onnx").original is None
        assert "its original input is not offered: no memory" in caplog.text

    def test_nothing_keeps_it_and_its_file_is_closed(self, models: Path) -> None:
        model = ModelLoader(CPU, 1, 4)("net", 1, models / "net/1/model.onnx")
        assert model.original is not None
        assert self.wait(model.original) is None
        descriptor, alive = model.original.engine._descriptor, weakref.ref(model.original)
        os.fstat(descriptor)
        gc.disable()
        try:
            del model
            wait_until(lambda: alive() is None)  # the thread that started the session ends after telling
        finally:
            gc.enable()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    def test_it_is_of_the_file_that_was_checked(self, original: OriginalInput, tmp_path: Path) -> None:
        path = tmp_path / "net/1/model.onnx"
        path.rename(tmp_path / "old.onnx")
        path.write_bytes(b"another model")
        assert self.wait(original) is None
        path.unlink()
        (tmp_path / "old.onnx").unlink()

    @pytest.mark.parametrize("change", ["truncated", "other weights"])
    def test_a_file_that_was_changed_in_place_is_noticed(
        self, original: OriginalInput, tmp_path: Path, change: str
    ) -> None:
        path = tmp_path / "net/1/model.onnx"
        data = path.read_bytes()
        model = onnx.load(path)
        kernel = next(each for each in model.graph.initializer if each.name == "kernel").raw_data
        new = data[:500] if change == "truncated" else data.replace(kernel, kernel[::-1])
        with path.open("r+b") as file:
            file.write(new)
            file.truncate()
        failed = self.wait(original)
        assert failed is not None
        assert "cannot be loaded for its original input" in str(failed)
        assert not original.engine.is_open
        with path.open("r+b") as file:
            file.write(data)
        assert self.wait(original) is None, "it is tried again"


class TestRefusal:
    """Of files whose original input is not what the model computes."""

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"activation": "sigmoid"}, "expected probabilities that add up to 1"),
            ({"activation": "magic"}, "activation 'magic' is not known here"),
            ({"unused_nodes": ["no such node"]}, "onnxruntime cannot load it"),
            ({"graph": b"\x0a"}, "onnxruntime cannot load it"),
            ({"output_datatype": "FP64"}, "a tensor of FP64; expected one of FP32, FP16, UINT8"),
            ({"output_shape": [3]}, "the model answered"),
        ],
    )
    def test_the_model_is_refused(self, models: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
        model = onnx.load(models / "net/1/model.onnx")
        entry = next(each for each in model.metadata_props if each.key == metadata.ORIGINAL_PATH_KEY)
        path = metadata.original_path_from_json(entry.value)
        for name, value in changes.items():
            path.ClearField(name)
            if isinstance(value, list):
                getattr(path, name).extend(value)
            else:
                setattr(path, name, value)
        entry.value = metadata.to_json(path)
        file = tmp_path / "model.onnx"
        onnx.save(model, file)
        with pytest.raises((RefusedModel, EngineFailed), match=said):
            ModelLoader(CPU, 1, 4)("net", 1, file)


@pytest.mark.parametrize("broken", ["run", "_start"])
def test_where_a_canarys_fails_the_served_version_answers(
    front: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """No file is known whose graph fails here and passes the check at load."""
    models = tmp_path / "models"
    for _ in range(2):
        imported(models, "bytes")
    (models / "bytes" / "default-version").write_text("1")
    (models / "bytes" / "canary-version").write_text("2")

    def fail(*_: object) -> None:
        raise EngineFailed("broken")

    charged: list[int] = []
    charge = Pipeline.charge

    def count(pipeline: Pipeline, call: Call, images: int) -> None:
        if not canaries.is_tried_again(call):
            charged.append(images)
        charge(pipeline, call, images)

    monkeypatch.setattr(Pipeline, "charge", count)
    with running_servers(front) as start:
        server = start(models, canary_share=1.0)
        canary = server.app.repository.catalog.find("bytes", 2)
        assert canary.original is not None
        monkeypatch.setattr(canary.original.engine, broken, fail)
        wait_until(lambda: {each.state for each in server.app._observers.canaries.trials.values()} == {"trial"})
        values = original_input(models, "bytes", 3)
        answer = infer(server, request(values, "bytes"))
        assert answer.model_version == "1"
        np.testing.assert_allclose(output(answer), by_onnxruntime(models, "bytes", values), atol=1e-4)
        assert server.app._metrics.tally(canary).passed_on == 1
        assert charged == [3], "once, also where the canary fails before it is"
