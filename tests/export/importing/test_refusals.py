"""What is no image classifier is refused in one sentence, and nothing is left behind."""

from __future__ import annotations

import io
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.export.importing.imports import published, refused, run
from tests.export.importing.onnx_models import SIZE, model, save, small_cnn

IMAGE = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"x" * 10)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>404</html>", "a page of HTML"),
        (b'<?xml version="1.0"?><net name="x"/>', "a page of HTML or XML"),
        (archive("archive/data.pkl", "archive/data/0"), "a PyTorch checkpoint"),
        (archive("net/code/__torch__.py", "net/constants.pkl", "net/data.pkl"), "TorchScript"),
        (archive("config.json", "model.weights.h5"), "a Keras model"),
        (archive("x.onnx"), "a zip archive"),
        (pickle.dumps({"weight": 1}), "a Python pickle"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(50), "TensorFlow Lite"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"__metadata__":', "safetensors"),
        (b"\x1f\x8b\x08" + bytes(20), "compressed archive"),
        (b"not found\n", "text that begins with 'not found'"),
        (b"\xff\xfe\x00\x12 something", "its 14 bytes are something else"),
        (b"\x08\x07", "found none in its 2 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_of_another_kind(
    content: bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "network.onnx"
    source.write_bytes(content)
    message = refused(source, tmp_path / "models", capsys)
    assert "expected an ONNX file" in message
    assert expected in message
    assert not (tmp_path / "models").exists()


def test_truncated_files_at_any_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_cnn().SerializeToString()
    for share in (0.1, 0.5, 0.9, 0.99):
        source = tmp_path / "network.onnx"
        source.write_bytes(data[: int(share * len(data))])
        assert "truncated" in refused(source, tmp_path / "models", capsys)


def test_a_model_of_coveys_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(save(small_cnn(), tmp_path), tmp_path / "models")
    message = refused(tmp_path / "models/net/1/model.onnx", tmp_path / "models", capsys)
    assert "is a model of Covey's already (net version 1), with its labels" in message
    models = tmp_path / "models"
    assert message.endswith(f"Serve it as it is: covey serve --models {models}")
    alone = shutil.copy(models / "net/1/model.onnx", tmp_path / "alone.onnx")
    assert "copy it to models/net/1/model.onnx" in refused(Path(alone), models, capsys)


def test_a_folder_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published(save(small_cnn(), tmp_path), tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    for source in ("models", "models/net", "models/net/1"):
        message = refused(Path(source), tmp_path / "models", capsys)
        assert "got a folder of models; serve it: covey serve --models models; or import one of its files" in message
    monkeypatch.chdir(tmp_path / "models/net")
    assert "serve it: covey serve --models ..; or" in refused(Path(), tmp_path / "models", capsys)


def test_files_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file" in refused(tmp_path / "none.onnx", tmp_path / "models", capsys)
    save(small_cnn(), tmp_path)
    assert "a folder; import one of its files: network.onnx" in refused(tmp_path, tmp_path / "models", capsys)
    (tmp_path / "network.onnx").unlink()
    message = refused(tmp_path, tmp_path / "models", capsys)
    assert "without any .onnx file in it; name the file of the network, or a folder with config.json" in message
    (tmp_path / "saved_model.pb").touch()
    for source in (tmp_path, tmp_path / "saved_model.pb"):
        message = refused(source, tmp_path / "models", capsys)
        assert (
            f"a SavedModel of TensorFlow; convert it with: python -m tf2onnx.convert --saved-model {tmp_path}"
            in message
        )


def test_three_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "large.onnx"
    with source.open("wb") as file:
        file.write(small_cnn().SerializeToString())
        file.truncate(3 * 2**30)  # takes no space
    message = refused(source, tmp_path / "models", capsys)
    assert "has 3,221,225,472 bytes; a served model is one ONNX file of at most 2,147,483,647" in message


def split(folder: Path) -> tuple[Path, Path]:
    """A model with its weights in another file."""
    onnx.save(
        small_cnn(), folder / "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0,
        convert_attribute=False,
    )  # fmt: skip
    return folder / "split.onnx", folder / "weights.bin"


def test_external_data_that_is_missing_truncated_or_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, weights = split(tmp_path)
    data = weights.read_bytes()
    weights.write_bytes(data[:-8])
    assert "it is truncated" in refused(source, tmp_path / "models", capsys)
    with weights.open("wb") as file:
        file.write(data)
        file.truncate(3 * 2**30)
    assert "with its weights in weights.bin; a served model is" in refused(source, tmp_path / "models", capsys)
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    assert "Git LFS pointer" in refused(source, tmp_path / "models", capsys)
    weights.unlink()
    assert "weights.bin, which is not beside it" in refused(source, tmp_path / "models", capsys)


def test_external_data_outside_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "inner").mkdir()
    source, weights = split(tmp_path / "inner")
    weights.rename(tmp_path / "weights.bin")
    model = onnx.load(source, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights.bin"
    source.write_bytes(model.SerializeToString())
    assert "weights in ../weights.bin cannot be read" in refused(source, tmp_path / "models", capsys)


def test_weights_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    matrix = next(tensor for tensor in model.graph.initializer if tensor.name == "matrix")
    values = onnx.numpy_helper.to_array(matrix).copy()
    values[0, 0] = np.nan
    matrix.CopyFrom(onnx.numpy_helper.from_array(values, "matrix"))
    assert "found NaN in 1 tensor: matrix" in refused(save(model, tmp_path), tmp_path / "models", capsys)


def test_answers_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn(last="Log")
    model.graph.node[-1].op_type = "Sqrt"
    assert "got NaN or infinity for" in refused(save(model, tmp_path), tmp_path / "models", capsys)


def test_operators_that_nobody_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    model.graph.node[1].op_type = "Frobnicate"
    message = refused(save(model, tmp_path), tmp_path / "models", capsys)
    assert "1 operator that ONNX does not have: Frobnicate" in message
    model.graph.node[1].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    message = refused(save(model, tmp_path), tmp_path / "models", capsys)
    assert "com.example.Frobnicate" in message


def test_opsets_that_are_too_old_or_too_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for opset, expected in (
        (3, "opset 3; expected 7 or later"),
        (6, "opset 6; expected 7 or later"),
        (99, "opset 99; onnx "),
    ):
        assert expected in refused(save(small_cnn(opset=opset), tmp_path), tmp_path / "models", capsys)


def test_a_format_that_is_too_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_cnn()
    model.ir_version = 99
    assert "Unsupported model IR version: 99" in refused(save(model, tmp_path), tmp_path / "models", capsys)


def network(
    inputs: list[onnx.ValueInfoProto], nodes: list[onnx.NodeProto], outputs: list[onnx.ValueInfoProto],
    **constants: np.ndarray,
) -> onnx.ModelProto:  # fmt: skip
    return model(nodes, inputs, outputs, constants)


def value(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def text_model() -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["words", "input_ids"], ["logits"])]
    ids = value("input_ids", ["N", "L"], TensorProto.INT64)
    return network([ids], nodes, [value("logits", ["N", "L", 4])], words=np.zeros((9, 4), np.float32))


def two_inputs() -> onnx.ModelProto:
    nodes = [helper.make_node("Add", ["image", "mask"], ["sum"]), helper.make_node("Flatten", ["sum"], ["scores"])]
    return network([IMAGE, value("mask", ["N", 3, SIZE, SIZE])], nodes, [value("scores", ["N", "K"])])


def detector() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["boxes"]),
        helper.make_node("ReduceMax", ["boxes"], ["confidences"], axes=[2], keepdims=0),
    ]
    outputs = [value("boxes", ["N", 108, 4]), value("confidences", ["N", 108])]
    return network([IMAGE], nodes, outputs, shape=np.array([0, -1, 4]))


def numbered_outputs() -> onnx.ModelProto:
    """As PyTorch's exporter writes torchvision's detectors, whose outputs have numbers for names."""
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["4212"]),
        helper.make_node("ReduceMax", ["4212"], ["4181"], axes=[1], keepdims=0),
        helper.make_node("ArgMax", ["4212"], ["4182"], axis=1, keepdims=0),
    ]
    outputs = [value("4212", ["Concat4212_dim_0", 4]), value("4181", ["n"]), value("4182", ["n"], TensorProto.INT64)]
    return network([value("image", [1, 3, SIZE, SIZE])], nodes, outputs, shape=np.array([-1, 4]))


def one_output_of_rank(target: list[int], shape: list[int | str]) -> onnx.ModelProto:
    nodes = [helper.make_node("Reshape", ["image", "shape"], ["found"])]
    return network([IMAGE], nodes, [value("found", shape)], shape=np.array(target))


def class_numbers() -> onnx.ModelProto:
    model = small_cnn(last="Softmax")
    model.graph.node[-1].op_type = "ArgMax"
    model.graph.output[0].CopyFrom(value("scores", ["N", 1], TensorProto.INT64))
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (text_model(), "this model takes text"),
        (two_inputs(), "expected one input of images, found 2: image: float32 [N, 3, 12, 12], mask"),
        (detector(), "These look like those of a detector, which is not served; import an image classifier"),
        (numbered_outputs(), "These look like those of a detector, which is not served; import an image classifier"),
        (one_output_of_rank([0, -1, 6], ["N", 72, 6]), "got [1, 72, 6] float32; a detector, or a model of sequences"),
        (one_output_of_rank([0, 3, 12, 12], ["N", 3, 12, 12]), "without its head, or one of segmentation"),
        (one_output_of_rank([-1], [432]), "no batch axis is left"),
        (class_numbers(), "these are not scores but class numbers"),
        (small_cnn(channels=4), "expected images of 1 or 3 channels"),
        (network([value("rows", ["N", 784])], [helper.make_node("Relu", ["rows"], ["y"])], [value("y", ["N", 784])]),
         "a model of rows of numbers takes no images"),
        (network([value("x", [3, 9, 9])], [helper.make_node("Relu", ["x"], ["y"])], [value("y", [3, 9, 9])]),
         "export it with a batch axis in front"),
        (network([value("x", ["N", 3, 8, 9, 9])], [helper.make_node("Relu", ["x"], ["y"])], [value("y", [])]),
         "videos or volumes"),
        (network([value("x", ["N", 3, 9, 9], TensorProto.INT64)], [helper.make_node("Flatten", ["x"], ["y"])],
                 [value("y", ["N", 9], TensorProto.INT64)]), "expected an input of images as float32"),
    ],
    ids=["text", "two inputs", "detector", "numbered outputs", "rank 3", "segmentation", "rank 1", "argmax",
         "four channels", "rows", "no batch", "video", "int64"],
)  # fmt: skip
def test_what_is_no_classifier(
    model: onnx.ModelProto, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(save(model, tmp_path), tmp_path / "models", capsys)
    assert expected in message
    assert "expected" in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--output", "score"], "Did you mean scores?"),
        (["--layout", "NHWC"], "expected images of 1 or 3 channels, found 12"),
        (["--image-size", "224"], "takes images of 12x12, --image-size says 224x224"),
        (["--like", "caffe", "--mean", "0.5"], "omit it, or --mean"),
        (["--mean", "123.7,116.3,103.5"], "say --scale 1"),
        (["--std", "0"], "not above 0"),
        (["--resize", "stretch", "--resize-to", "256"], "--resize-to goes with --resize shorter_side"),
        (["--resize", "shorter_side", "--resize-to", "8"], "expected 12 or more"),
        (["--pad", "black"], "--pad goes with --resize pad"),
        (["--activation", "none"], "--activation none does not fit: its outputs are logits"),
        (["--min-accuracy", "0.9"], "--min-accuracy needs labelled images"),
        (["--samples", "/nowhere"], "does not exist"),
        (["--network", "torchvision:resnet18"], "an ONNX file holds its network; omit --network"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys, *options)


def test_a_misspelled_option_gets_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "x.onnx", tmp_path / "models", "--label", "cat,dog")
    message = capsys.readouterr().err
    assert message.splitlines() == [
        "covey-export import: error: unrecognized arguments: --label cat,dog. Did you mean --labels?",
        "All options: covey-export import --help",
    ]


def test_a_network_that_scales_for_itself_takes_no_scaling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(dtype=TensorProto.UINT8), tmp_path)
    assert "scales them itself; omit --like" in refused(source, tmp_path / "models", capsys, "--like", "imagenet")


def test_a_grey_network_takes_no_numbers_of_three_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = save(small_cnn(channels=1), tmp_path)
    assert "--like imagenet is for colour images" in refused(source, tmp_path / "models", capsys, "--like", "imagenet")
    assert "--bgr is for networks of colour" in refused(source, tmp_path / "models", capsys, "--bgr")


def test_a_models_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").write_text("a file")
    message = refused(save(small_cnn(), tmp_path), tmp_path / "models", capsys)
    assert "cannot write the model into" in message
