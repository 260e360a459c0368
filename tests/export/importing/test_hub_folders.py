"""Folders as Hugging Face's transformers and timm save them are served as the library itself would answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from onnx import numpy_helper
from PIL import Image
from tests.export.importing.imports import images, original, published, refused, run, softmax
from tests.export.importing.library_answers import answers, assert_alike, files, image, lively
from tests.export.importing.onnx_models import save, small_cnn
from torch import nn

from covey_export.errors import InvalidSource
from covey_export.importing.sources import hub_folder, processor, timm_config
from covey_proto.resize import Resize

LABELS = ["cat", "dog, domestic", "Vogel", "鱼", "crane"]
ID2LABEL = dict(enumerate(LABELS))
SIDE = 64


def vit(**options: Any) -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, image_size=SIDE,
        patch_size=16, **options,
    )  # fmt: skip
    model: nn.Module = transformers.ViTForImageClassification(config)
    return model


def resnet(**options: Any) -> nn.Module:
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], **options)
    model: nn.Module = transformers.ResNetForImageClassification(config)
    return model


Transform = Callable[[Image.Image], torch.Tensor]


def saved_processor(folder: Path, kind: str, **options: Any) -> Transform:
    """Writes its settings; the processor that works by Pillow, as Covey does."""
    getattr(transformers, f"{kind}ImageProcessor")(**options).save_pretrained(folder)
    reader = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")

    def transform(image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = reader(image, return_tensors="pt")["pixel_values"][0]
        return pixels

    return transform


def saved(module: nn.Module, folder: Path, kind: str, **options: Any) -> Transform:
    """Writes the whole folder."""
    transform = saved_processor(folder, kind, **options)
    lively(module, transform)
    module.save_pretrained(folder)  # type: ignore[operator]
    return transform


def assert_prepared_alike(folder: Path, transform: Transform, tmp_path: Path) -> None:
    """Images for a network in an ONNX file are prepared as `folder` says: as `transform` does."""
    prepared = np.stack([transform(image(data)).numpy() for data in files()])
    source = lively_file(prepared, tmp_path)
    served = published(source, tmp_path / "models", "--like", folder, "--exact")
    assert_alike(served, softmax(original(source, prepared)))


def lively_file(prepared: np.ndarray, folder: Path) -> Path:
    """A network whose scores for these images differ by about 1, as library_answers.lively makes them."""
    model = small_cnn(height="h", width="w")
    scores = original(save(model, folder), prepared)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    matrix, offset = (numpy_helper.to_array(constants[name]) for name in ("matrix", "offset"))
    spread = scores.std(axis=0).mean()
    constants["offset"].CopyFrom(numpy_helper.from_array((offset - scores.mean(axis=0)) / spread, "offset"))
    constants["matrix"].CopyFrom(numpy_helper.from_array(matrix / spread, "matrix"))
    return save(model, folder)


@pytest.fixture(autouse=True)
def _no_bars() -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    yield
    transformers.utils.logging.enable_progress_bar()


SQUARE = {"height": SIDE, "width": SIDE}
FOLDERS: dict[str, tuple[Callable[..., nn.Module], str, dict[str, Any]]] = {
    "ViT": (vit, "ViT", {"size": SQUARE}),
    "ViT, other numbers": (
        vit, "ViT", {"size": SQUARE, "resample": 3, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.1]},
    ),
    "ViT, not normalised": (vit, "ViT", {"size": SQUARE, "do_normalize": False}),
    "ViT, not scaled": (
        vit, "ViT", {"size": SQUARE, "do_rescale": False, "image_mean": [128.0] * 3, "image_std": [60.0] * 3},
    ),
    "ResNet": (resnet, "ConvNext", {"size": {"shortest_edge": SIDE}, "crop_pct": 0.875, "resample": 2}),
    "ResNet, CLIP's": (resnet, "CLIP", {"size": {"shortest_edge": 71}, "crop_size": SIDE}),
    "ResNet, LeViT's": (resnet, "Levit", {"size": {"shortest_edge": SIDE}, "crop_size": SIDE}),
    "ResNet, PoolFormer's": (resnet, "PoolFormer", {"size": {"shortest_edge": SIDE}, "crop_size": SIDE}),
    "ResNet, MobileViT's": (resnet, "MobileViT", {"size": {"shortest_edge": 72}, "crop_size": SIDE}),
    "ResNet, EfficientNet's": (
        resnet, "EfficientNet", {"size": SQUARE, "rescale_offset": True, "rescale_factor": 1 / 127.5, "resample": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["ViT", "ResNet"])
def test_transformers(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    make, processor_name, options = FOLDERS[kind]
    module = make(id2label=ID2LABEL, label2id={label: place for place, label in ID2LABEL.items()})
    transform = saved(module, tmp_path / "folder", processor_name, **options)
    served = published(tmp_path / "folder", tmp_path / "models", "--exact")
    assert_alike(served, answers(module, transform), LABELS)
    info = served.description.info
    assert (info.source.kind, info.source.file, info.source.input_name) == ("hugging_face", "folder", "pixel_values")
    output = capsys.readouterr().out
    assert "[preprocessor_config.json" in output
    assert "[id2label of config.json]" in output
    assert "assumed" not in output


@pytest.mark.parametrize("kind", [kind for kind in FOLDERS if kind not in ("ViT", "ResNet")])
def test_processors_of_transformers(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, processor_name, options = FOLDERS[kind]
    assert_prepared_alike(
        tmp_path / "folder", saved_processor(tmp_path / "folder", processor_name, **options), tmp_path
    )
    output = capsys.readouterr().out
    assert "[preprocessor_config.json" in output
    assert "no preprocessing was given" not in output


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_timm(crop_mode: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = timm.create_model("test_resnet", num_classes=5)
    share = 0.9 if crop_mode == "center" else 1.0
    settings = {"crop_mode": crop_mode, "crop_pct": share, "mean": (0.5, 0.4, 0.3), "interpolation": "bicubic"}
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module, settings))
    lively(module, transform)
    timm.models._hub.save_for_hf(
        module, tmp_path / "folder", model_config={"label_names": LABELS}, safe_serialization=True, data_config=settings
    )
    if crop_mode != "center":
        assert_prepared_alike(tmp_path / "folder", transform, tmp_path)
        return
    served = published(tmp_path / "folder", tmp_path / "models", "--exact")
    assert_alike(served, answers(module, transform), LABELS)
    assert served.description.info.source.kind == "timm"


def test_a_folder_of_an_onnx_file(tmp_path: Path) -> None:
    """As optimum writes it; with no torch."""
    folder = tmp_path / "folder"
    folder.mkdir()
    save(small_cnn(height="h", width="w"), folder, "model.onnx")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": ID2LABEL}))
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 20, "width": 24}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    served = published(folder, tmp_path / "models")
    assert served.description.input.shape == (20, 24, 3)
    assert list(served.description.info.labels) == LABELS
    assert [round(number, 6) for number in served.description.info.input.mean] == [0.5] * len(
        served.description.info.input.mean
    )
    file = save(small_cnn(height="h", width="w"), tmp_path)
    served_like_folder = published(file, tmp_path / "models", "--like", folder, version=2)
    assert served_like_folder.description.info.input == served.description.info.input
    config = {"id2label": dict(enumerate("abc"))}  # the folder of a network for other classes
    (folder / "config.json").write_text(json.dumps(config))
    borrowed = published(file, tmp_path / "models", "--like", folder, version=3)
    assert list(borrowed.description.info.labels) == [f"class {place}" for place in range(5)]
    pixels = images(3, (20, 24, 3))
    np.testing.assert_array_equal(served_like_folder.engine.run(pixels), served.engine.run(pixels))


def test_without_torch_and_transformers(tmp_path: Path) -> None:
    """--like FOLDER reads JSON alone; a folder with weights says what is to be installed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    source = save(small_cnn(height="h", width="w"), tmp_path)
    (folder / "config.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor", "size": 32}')
    (folder / "model.safetensors").touch()
    single_file = tmp_path / "whole.safetensors"
    single_file.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    program = "import json, sys; sys.modules.update(dict.fromkeys(('torch', 'transformers', 'timm', 'rich')))\n"
    program += "from covey_export.__main__ import main\n"
    program += "for each in json.loads(sys.argv[1]): print('exit code', main(each))"
    network = ("--network", "torchvision:resnet18")
    commands = [
        ["import", *map(str, arguments), "--name", "net", "--models", str(tmp_path / "models")]
        for arguments in (
            (source, "--like", folder),
            (folder,),
            (folder / "model.safetensors", *network),
            (single_file, *network),
        )
    ]
    line = [sys.executable, "-c", program, json.dumps(commands)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert "32x32: stretched to 32x32, bilinear [preprocessor_config.json in" in done.stdout
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert codes == ["exit code 0", "exit code 2", "exit code 2", "exit code 2"]
    _, empty, installed = done.stderr.splitlines()
    assert "empty" in empty
    assert "'covey-serve[cpu,export]'" in installed


def test_options_go_before_what_a_folder_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    saved(vit(num_labels=3), tmp_path / "folder", "ViT", size=SQUARE)
    served = published(
        tmp_path / "folder", tmp_path / "models", "--mean", "0.1", "--resize", "shorter_side", "--resize-to", 70,
        "--interpolation", "nearest", "--background", "black",
    )  # fmt: skip
    spec = served.description.input
    assert (spec.resize, spec.resize_to, spec.background) == (Resize.SHORTER_SIDE, 70, (0, 0, 0))
    assert served.description.info.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    output = capsys.readouterr().out
    assert "[--mean]" in output
    assert "[--resize]" in output


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    models, folder = tmp_path / "models", tmp_path / "folder"
    saved(vit(num_labels=3), folder, "ViT", size=SQUARE)
    weights, config = folder / "model.safetensors", folder / "config.json"
    original_weights, original_config = weights.read_bytes(), json.loads(config.read_text())

    def message(*options: object) -> str:
        return refused(folder, models, capsys, *options)

    assert "omit --network" in message("--network", "torchvision:resnet18")
    assert "cannot take images" in message("--image-size", "30")
    weights.write_bytes(original_weights[:-100])
    assert "cannot build its network" in message()
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git lfs pull" in message()
    weights.unlink()
    assert "expected weights beside its config.json" in message()
    (folder / "pytorch_model.bin").write_bytes(b"PK nothing")
    assert "expected weights, but it is a zip archive" in message()
    (folder / "pytorch_model.bin").unlink()
    weights.write_bytes(original_weights)
    for change, expected in (
        ({"architectures": ["ViTModel"]}, "expected an image classifier"),
        ({"model_type": "unheard of"}, "cannot build its network"),
        ({"num_hidden_layers": 3}, "its weights are not those of ViTForImageClassification"),
        ({"id2label": {"0": "a", "1": "b"}}, "its weights are not those of"),
        ({"id2label": {"0": "a", "2": "b"}}, "id2label of config.json"),
    ):
        config.write_text(json.dumps({**original_config, **change}))
        assert expected in message()
    config.write_text("{")
    assert "expected JSON" in message()
    config.unlink()
    assert "got a folder" in message()


def test_a_pickle_that_would_run_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, ran = tmp_path / "folder", tmp_path / "ran"
    saved(vit(num_labels=3), folder, "ViT", size=SQUARE)

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(ran),))

    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Bad()}, folder / "pytorch_model.bin")
    assert "cannot build its network" in refused(folder, tmp_path / "models", capsys)
    (folder / "config.json").write_text(
        json.dumps({"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 64, 64]}})
    )
    (folder / "preprocessor_config.json").unlink()
    assert "would have to run code" in refused(folder, tmp_path / "models", capsys)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"image_processor_type": "DeiTImageProcessor"}, "stretches images to 256x256 and cuts 224x224"),
        ({"image_processor_type": "PerceiverImageProcessor"}, "in a way that Covey does not know"),
        ({"image_processor_type": "ViTImageProcessor", "resample": 4}, "resample 4"),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, "do_resize is false"),
        ({"image_processor_type": "BitImageProcessor", "do_center_crop": False}, "cuts nothing out"),
        ({"image_processor_type": "MobileViTImageProcessor"}, "pads that to 256x256"),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "do_pad"),
    ],
)
def test_ways_that_covey_does_not_have(
    settings: dict[str, Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(small_cnn(), tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    line = refused(source, tmp_path / "models", capsys, "--like", tmp_path)
    assert expected in line
    assert "say the nearest with --resize" in line
    assert run(source, tmp_path / "models", "--like", tmp_path, "--resize", "stretch") == 0


@pytest.mark.parametrize(
    "settings",
    [{"crop_mode": "squash", "crop_pct": 0.9}, {"crop_mode": "border", "crop_pct": 0.9}, {"input_size": [3, 20, 30]},
     {"interpolation": "hamming"}],
)  # fmt: skip
def test_ways_of_timm_that_covey_does_not_have(settings: dict[str, Any]) -> None:
    contract = timm_config.read(settings, "here")
    assert contract.resizing is None
    assert "which Covey does not have" in contract.problem


@pytest.mark.parametrize("settings", [{"input_size": "x"}, {"mean": "x"}, {"crop_pct": "x"}, {"input_size": [3]}])
def test_no_settings_of_timm(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSource, match="expected timm's settings"):
        timm_config.read(settings, "here")


@pytest.mark.parametrize(
    "settings", [{"image_mean": "x"}, {"image_mean": [1, 2]}, {"resample": "x"}, {"rescale_factor": [1]}]
)
def test_no_settings_of_a_processor(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSource, match="expected the settings of an image processor"):
        processor.read({"image_processor_type": "ViTImageProcessor", **settings}, "here")


def test_older_settings_of_timm(tmp_path: Path) -> None:
    """They stand in config.json itself."""
    settings = {"architecture": "resnet18", "input_size": [3, 32, 32], "crop_pct": 0.5, "interpolation": "bilinear"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    contract = hub_folder.read_contract(tmp_path)
    assert contract.origin == "config.json"
    assert contract.resizing is not None
    assert contract.resizing.resize_to == 64


def test_a_folder_without_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match=r"expected preprocessor_config.json"):
        hub_folder.read_contract(tmp_path)


@pytest.mark.parametrize("kind", sorted(processor._PROCESSORS))
def test_defaults_are_those_of_transformers(kind: str) -> None:
    """What a file leaves out is what its processor has by default."""
    full = getattr(transformers, f"{kind}ImageProcessor")().to_dict()
    settings = {"image_processor_type": f"{kind}FeatureExtractor"}
    assert processor.read(settings, "x") == processor.read({**full, **settings}, "x")


def test_independent_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    saved(vit(num_labels=3, problem_type="multi_label_classification"), tmp_path / "folder", "ViT", size=SQUARE)
    capsys.readouterr()
    if run(tmp_path / "folder", tmp_path / "models") == 2:
        assert "labels are independent (sigmoid)" in capsys.readouterr().err
    else:
        assert "a sigmoid is put behind each output" in capsys.readouterr().out


def test_two_kinds_of_crane(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    saved(vit(id2label={0: "crane", 1: "cat", 2: "crane"}), tmp_path / "folder", "ViT", size=SQUARE)
    served = published(tmp_path / "folder", tmp_path / "models")
    assert list(served.description.info.labels) == ["crane", "cat", "crane (2)"]
    assert "'crane' is the label of output 0 and of output 2; that is named 'crane (2)'" in capsys.readouterr().out
