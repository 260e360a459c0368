"""ONNX files of all the kinds that exporters write become models that give what the file gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.importing.imports import Served, by_own_input, images, original, published, refused, run, softmax
from tests.export.importing.onnx_models import CLASSES, SIZE, save, small_cnn

from covey_proto.v1.classifier_pb2 import ImageSpec, ModelInfo

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SHAPE = (SIZE, SIZE, 3)


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def imagenet(pixels: np.ndarray) -> np.ndarray:
    """As torchvision's users do it."""
    return planes(((pixels / 255 - MEAN) / STD).astype(np.float32))


def test_an_nchw_network_of_logits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(), tmp_path)
    served = published(source, tmp_path / "models")
    pixels = images(7, SHAPE)
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, imagenet(pixels))), atol=1e-5)
    info = served.description.info
    assert (info.name, info.version, len(info.labels)) == ("net", 1, CLASSES)
    assert info.source.kind == "onnx"
    assert info.source.file == "network.onnx"
    assert (info.source.input_name, info.source.input_datatype, info.source.input_layout) == ("data", "FP32", "NCHW")
    assert info.source.output_name == "scores"
    assert len(info.source.sha256) == 64
    assert info.source.golden_is_made
    assert info.source.max_batch == 0
    assert 0 <= info.source.difference <= 1e-4
    assert info.answer == ModelInfo.ANSWER_EXCLUSIVE
    output = capsys.readouterr().out
    assert "its outputs are logits; a softmax is put behind them" in output
    assert "no preprocessing was given; assumed is imagenet" in output
    assert "no --labels were given" in output
    assert (tmp_path / "models/net/1/import.json").exists()


def test_an_embedding_is_what_the_last_matrix_reads(tmp_path: Path) -> None:
    """And the original's own input goes on as before."""
    made = small_cnn()
    source = save(made, tmp_path)
    served = published(source, tmp_path / "models", "--embedding")
    made.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 8]))
    beside = save(made, tmp_path, "beside.onnx")
    pixels = images(5, SHAPE)
    probabilities, found = served.engine.run_with_embedding(pixels)
    np.testing.assert_allclose(found, original(beside, imagenet(pixels), "rows"), atol=1e-5)
    np.testing.assert_array_equal(probabilities, served.engine.run(pixels))
    assert served.description.info.embedding_size == 8
    np.testing.assert_allclose(
        by_own_input(tmp_path / "models", imagenet(pixels)), original(source, imagenet(pixels)), atol=1e-5
    )


def test_a_network_without_an_embedding_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(keeps_maps=True), tmp_path)
    said = refused(source, tmp_path / "models", capsys, "--embedding")
    assert "the network ends in Conv; expected a linear layer last" in said


def test_nodes_that_are_named_as_the_contract_is(tmp_path: Path) -> None:
    model = small_cnn(input_name="images", output_name="probabilities", last="Softmax")
    for node, name in zip(
        model.graph.node, ("images", "covey/planes", "N", "covey/float", "probabilities"), strict=False
    ):
        node.name = name
    model.graph.node[-1].name = "probabilities"
    model.graph.node[-2].name = "covey/probabilities"
    served = published(save(model, tmp_path), tmp_path / "models")
    assert served.description.info.source.max_batch == 0


def test_versions_follow_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(), tmp_path)
    published(source, tmp_path / "models")
    published(source, tmp_path / "models", version=2)
    assert "net has 1 version already" in capsys.readouterr().out


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 17, 20, 22])
def test_opsets(opset: int, tmp_path: Path) -> None:
    source = save(small_cnn(opset=opset, last="Softmax"), tmp_path)
    served = published(source, tmp_path / "models", "--like", "0..1")
    pixels = images(3, SHAPE)
    expected = original(source, planes((pixels / 255).astype(np.float32)))
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=1e-5)


def test_old_files_list_their_weights_as_inputs(tmp_path: Path) -> None:
    model = small_cnn(opset=8)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    served = published(save(model, tmp_path), tmp_path / "models")
    assert served.engine.input_shape == SHAPE


@pytest.mark.parametrize(
    ("dtype", "datatype", "tolerance"),
    [(TensorProto.FLOAT16, "FP16", 5e-3), (TensorProto.UINT8, "UINT8", 1e-5)],
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_types_and_layouts(dtype: int, datatype: str, tolerance: float, layout: str, tmp_path: Path) -> None:
    source = save(small_cnn(dtype=dtype, layout=layout), tmp_path)
    options = [] if datatype == "UINT8" else ["--like", "-1..1"]
    served = published(source, tmp_path / "models", *options)
    pixels = images(3, SHAPE)
    prepared = pixels if datatype == "UINT8" else (pixels / 127.5 - 1).astype(helper.tensor_dtype_to_np_dtype(dtype))
    expected = softmax(original(source, planes(prepared) if layout == "NCHW" else prepared))
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=tolerance)
    assert served.description.info.source.input_datatype == datatype
    assert served.description.info.source.input_layout == layout


def test_grey_networks(tmp_path: Path) -> None:
    source = save(small_cnn(channels=1), tmp_path)
    served = published(source, tmp_path / "models", "--mean", "0.1307", "--std", "0.3081")
    pixels = images(3, (SIZE, SIZE, 1))
    prepared = planes(((pixels / 255 - 0.1307) / 0.3081).astype(np.float32))
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, prepared)), atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_caffe(layout: str, tmp_path: Path) -> None:
    source = save(small_cnn(layout=layout), tmp_path)
    served = published(source, tmp_path / "models", "--like", "caffe")
    pixels = images(3, SHAPE)
    prepared = (pixels[..., ::-1] - np.array([103.939, 116.779, 123.68])).astype(np.float32)
    expected = softmax(original(source, planes(prepared) if layout == "NCHW" else prepared))
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=1e-4)
    spec = served.description.info.input
    assert spec.colour_order == "bgr"
    np.testing.assert_allclose(spec.mean, np.array([123.68, 116.779, 103.939]) / 255, rtol=1e-5)  # red first
    np.testing.assert_allclose(spec.std, [1 / 255], rtol=1e-5)


def test_numbers_of_ones_own(tmp_path: Path) -> None:
    source = save(small_cnn(layout="NHWC"), tmp_path)
    served = published(
        source, tmp_path / "models", "--scale", "1", "--mean", "104,117,123", "--std", "58,57,57", "--bgr"
    )
    pixels = images(3, SHAPE)
    prepared = ((pixels[..., ::-1] - np.array([104, 117, 123])) / np.array([58, 57, 57])).astype(np.float32)
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, prepared)), atol=1e-5)


def test_imagenet_in_bgr_keeps_each_colours_numbers(tmp_path: Path) -> None:
    source = save(small_cnn(), tmp_path)
    served = published(source, tmp_path / "models", "--like", "imagenet", "--bgr")
    pixels = images(3, SHAPE)
    prepared = np.ascontiguousarray(imagenet(pixels)[:, ::-1])
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, prepared)), atol=1e-5)


@pytest.mark.parametrize(
    ("last", "options", "answer", "message"),
    [
        ("", [], softmax, "logits; a softmax"),
        ("Softmax", [], None, "add up to 1 (softmax)"),
        ("Softmax", ["--activation", "softmax"], None, "add up to 1 (softmax)"),
        ("Softmax", ["--activation", "none"], None, "add up to 1 (softmax)"),
        ("LogSoftmax", [], np.exp, "logarithms"),
        ("", ["--activation", "softmax"], softmax, "as --activation says"),
    ],
)
def test_activations(
    last: str,
    options: list[str],
    answer: Callable[[np.ndarray], np.ndarray] | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = save(small_cnn(last=last), tmp_path)
    served = published(source, tmp_path / "models", "--like", "imagenet", *options)
    pixels = images(3, SHAPE)
    scores = original(source, imagenet(pixels))
    expected: np.ndarray = answer(scores) if answer else scores
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=1e-5)
    assert message in capsys.readouterr().out


@pytest.mark.parametrize("last", ["", "Sigmoid"])
def test_one_score_becomes_two_classes(last: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    source = save(small_cnn(classes=1, last=last), tmp_path)
    served = published(source, tmp_path / "models", "--like", "imagenet", "--labels", labels)
    pixels = images(3, SHAPE)
    score = original(source, imagenet(pixels))[:, 0]
    dog: np.ndarray = score if last else 1 / (1 + np.exp(-score))
    np.testing.assert_allclose(served.engine.run(pixels), np.stack([1 - dog, dog], axis=1), atol=1e-5)
    assert served.description.labels == ("cat", "dog")


def test_scores_as_maps_of_one_pixel(tmp_path: Path) -> None:
    source = save(small_cnn(keeps_maps=True), tmp_path)
    served = published(source, tmp_path / "models")
    pixels = images(3, SHAPE)
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, imagenet(pixels))), atol=1e-5)


def test_one_of_several_outputs(tmp_path: Path) -> None:
    model = small_cnn()
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 8]))
    source = save(model, tmp_path)
    served = published(source, tmp_path / "models", "--output", "scores")
    pixels = images(3, SHAPE)
    expected = softmax(original(source, imagenet(pixels), "scores"))
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("entry", "exit_"), [("images", "probabilities"), ("probabilities", "images"), ("N", "covey/scaled")]
)
def test_names_that_are_coveys_own(entry: str, exit_: str, tmp_path: Path) -> None:
    source = save(small_cnn(input_name=entry, output_name=exit_), tmp_path)
    served = published(source, tmp_path / "models")
    pixels = images(3, SHAPE)
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, imagenet(pixels))), atol=1e-5)


def test_any_size_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(height="h", width="w"), tmp_path)
    assert run(source, tmp_path / "models") == 2
    assert "--image-size 224" in capsys.readouterr().err
    served = published(source, tmp_path / "models", "--image-size", "10x14")
    assert served.engine.input_shape == (10, 14, 3)


def test_a_layout_that_shapes_leave_open_is_found_by_the_first_operator(tmp_path: Path) -> None:
    for layout in ("NCHW", "NHWC"):
        source = save(small_cnn(layout=layout, height=3, width=3), tmp_path)
        served = published(source, tmp_path / layout)
        assert served.description.info.source.input_layout == layout


def test_external_data_is_folded_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    onnx.save(
        model, tmp_path / "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0,
        convert_attribute=False,
    )  # fmt: skip
    source = tmp_path / "split.onnx"
    served = published(source, tmp_path / "models")
    pixels = images(3, SHAPE)
    np.testing.assert_allclose(served.engine.run(pixels), softmax(original(source, imagenet(pixels))), atol=1e-5)
    assert "its weights lay in weights.bin; they are part of the served file" in capsys.readouterr().out


def test_what_other_exporters_note_stays_out_of_the_file(tmp_path: Path) -> None:
    model = small_cnn()
    model.doc_string = model.graph.doc_string = model.graph.node[0].doc_string = "/home/somebody/secret.py"
    model.metadata_props.add(key="where", value="/home/somebody/secret.py")
    model.graph.node[0].metadata_props.add(key="where", value="/home/somebody/secret.py")
    published(save(model, tmp_path), tmp_path / "models")
    assert b"somebody" not in (tmp_path / "models/net/1/model.onnx").read_bytes()


def resize(served: Served) -> tuple[int, int]:
    spec = served.description.info.input
    return spec.resize, spec.resize_to


def test_resizing_is_written_into_the_file(tmp_path: Path) -> None:
    source = save(small_cnn(height=224, width=224), tmp_path)
    models = tmp_path / "models"
    assert resize(published(source, models)) == (ImageSpec.RESIZE_SHORTER_SIDE, 256)
    assert resize(published(source, models, "--like", "0..1", version=2)) == (ImageSpec.RESIZE_STRETCH, 0)
    options = ("--resize", "shorter_side", "--resize-to", 232, "--interpolation", "bicubic", "--exact", "--ignore-exif")
    third = published(source, models, *options, version=3)
    assert resize(third) == (ImageSpec.RESIZE_SHORTER_SIDE, 232)
    spec = third.description.info.input
    assert spec.interpolation == ImageSpec.INTERPOLATION_BICUBIC
    assert spec.exact
    assert spec.ignore_exif
    fourth = published(source, models, "--resize", "pad", "--pad", "#728294", "--background", "black", version=4)
    assert resize(fourth) == (ImageSpec.RESIZE_PAD, 0)
    assert (fourth.description.info.input.pad, fourth.description.info.input.background) == ("#728294", "#000000")
