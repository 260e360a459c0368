"""int8 and float16 variants of imported networks: made as Covey's own are, and compared with the original."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from PIL import Image
from tests.export.importing.imports import images, original, published, refused, softmax
from tests.export.importing.onnx_models import CLASSES, SIZE, save, small_cnn
from tests.export.importing.test_batches import stubborn
from tests.export.importing.test_exporters import MEAN, SIDE, STD, export, network

from covey_export.importing.proving.variants import other_labels
from covey_proto.v1.classifier_pb2 import ModelInfo
from covey_server.inference import golden, model_file
from covey_server.inference.engine import Engine

BOTH = ("--int8", "--float16")


def write(folder: Path, pixels: np.ndarray) -> Path:
    """One PNG file for each."""
    folder.mkdir()
    for place, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{place}.png")
    return folder


def table(photos: Path, expected: np.ndarray, wrong_rows: int) -> Path:
    """Labels by number: the original's own answers, but for the first few."""
    labels = expected.argmax(axis=1)
    labels[:wrong_rows] = (labels[:wrong_rows] + 1) % CLASSES
    (photos / "labels.csv").write_text("".join(f"{place}.png,{label}\n" for place, label in enumerate(labels)))
    return photos / "labels.csv"


def small(tmp_path: Path, count: int = 40) -> tuple[Path, Path, np.ndarray]:
    """A network, a folder of images, and its answers to them."""
    source = save(small_cnn(), tmp_path)
    pixels = images(count, (SIZE, SIZE, 3))
    expected = softmax(original(source, (pixels.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)))
    return source, write(tmp_path / "photos", pixels), expected


def test_of_a_torchvision_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = export(network("squeezenet"), tmp_path / "network.onnx", None, dynamo=False)
    pixels = images(24, (SIDE, SIDE, 3))
    photos = write(tmp_path / "photos", pixels)
    options = ("--like", "imagenet", "--resize", "stretch", "--samples", photos)
    float32 = published(source, tmp_path / "models", *options, *BOTH)
    output = capsys.readouterr().out
    prepared = ((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    expected = softmax(original(source, prepared))
    sizes = {}
    for precision, allowed in (("int8", 0.1), ("float16", 0.01)):
        folder = tmp_path / f"models/net-{precision}/1"
        engine = Engine(folder / "model.onnx")
        description = model_file.describe(engine)
        golden.check(engine, description.golden)
        info = description.info
        assert (info.name, info.version, info.build.precision) == (f"net-{precision}", 1, precision)
        assert info.source.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        assert description.input == float32.description.input
        difference = float(np.abs(engine.run(pixels) - expected).max())
        assert difference <= allowed
        assert info.source.difference == pytest.approx(difference, abs=1e-6)
        assert json.loads((folder / "import.json").read_text())["precision"] == precision
        assert f"variant net-{precision}: " in output
        sizes[precision] = (folder / "model.onnx").stat().st_size
    original_bytes = (tmp_path / "models/net/1/model.onnx").stat().st_size
    assert original_bytes / sizes["float16"] > 1.8
    assert original_bytes / sizes["int8"] > 2.8
    assert "x smaller" in output


@pytest.mark.parametrize("opset", [9, 13])
def test_accuracy_is_held_against_the_original(opset: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, photos, expected = small(tmp_path)
    source = save(small_cnn(opset=opset), tmp_path)
    published(source, tmp_path / "models", "--like", "0..1", "--samples", table(photos, expected, 4), *BOTH)
    output = capsys.readouterr().out
    assert "accuracy on the 40 labelled images: 90.00%" in output
    assert "variant net-float16: accuracy 90.00% (the original 90.00%, 0.00 points lost)" in output
    info = model_file.describe(Engine(tmp_path / "models/net-float16/1/model.onnx")).info
    assert (info.training.test_images, round(info.training.test_accuracy, 6)) == (40, 0.9)


def loud() -> onnx.ModelProto:
    """One channel that nothing depends on is so large that eight bits leave nothing of the others."""
    model = small_cnn()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        if tensor.name == "bias":
            values[0] = 1e4
        if tensor.name == "matrix":
            values[0] = 0
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def test_one_that_is_not_good_enough_publishes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, photos = save(loud(), tmp_path), write(tmp_path / "photos", images(40, (SIZE, SIZE, 3)))
    options = ("--like", "0..1", "--int8", "--samples")
    message = refused(source, tmp_path / "models", capsys, *options, photos)
    assert "net-int8 is not good enough in int8: " in message
    assert "of 40 images get another label, allowed are 5%. Omit --int8; nothing was published" in message
    pixels = images(40, (SIZE, SIZE, 3))
    expected = softmax(original(source, (pixels.transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32)))
    message = refused(source, tmp_path / "models", capsys, *options, table(photos, expected, 0))
    assert "of the original 100.00%, on 40 labelled images" in message
    assert "points lost, allowed are 0.50. Omit --int8" in message


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (small_cnn(), ("--int8",), "--int8 is calibrated on images like those of service: name some with --samples"),
        (small_cnn(dtype=TensorProto.FLOAT16), ("--float16",), "network.onnx computes in float16 already; omit it"),
        (stubborn(4), ("--float16",), "groups of 4 go through it one after another, and batches gain nothing; export"),
    ],
    ids=["no samples", "float16", "in a loop"],
)
def test_what_has_no_variant(
    model: onnx.ModelProto, options: tuple[str, ...], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(save(model, tmp_path), tmp_path / "models", capsys, *options)


def test_independent_labels_change_where_they_cross_their_threshold() -> None:
    info = ModelInfo(answer=ModelInfo.ANSWER_INDEPENDENT, thresholds=[0.5])
    expected = np.array([[0.9, 0.2], [0.52, 0.2], [0.6, 0.2]], np.float32)
    probabilities = np.array([[0.7, 0.4], [0.48, 0.2], [0.45, 0.2]], np.float32)
    assert other_labels(probabilities, expected, info, 0.05).tolist() == [False, False, True], "the second is a tie"
    exclusive = np.array([[0.1, 0.9], [0.48, 0.52], [0.6, 0.4]], np.float32)
    assert other_labels(exclusive, expected, ModelInfo(), 0.05).tolist() == [True, True, False]


def test_float16_needs_no_samples_and_is_a_model_with_versions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _, _ = small(tmp_path)
    published(source, tmp_path / "models", "--fp16")
    published(source, tmp_path / "models", "--float16", version=2)
    output = capsys.readouterr().out
    assert "note: net-float16 has 1 version already; servers give callers this one, version 2" in output
