"""Ultralytics' ONNX exports of classifiers: their metadata says labels and size, and what else is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image
from tests.export.importing.imports import published, refused
from tests.export.importing.library_answers import answers, assert_alike, lively
from torch import nn
from torchvision import transforms

NAMES = {0: "tench, Tinca tinca", 1: "it's", 2: "crane", 3: "crane", 4: "鱼"}
SIDE = 48


class Classify(nn.Sequential):
    """As their head does it: probabilities come out of an exported network."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(8, 5)
        )


def metadata(**changes: Any) -> dict[str, str]:
    """What their exporter writes."""
    properties = {
        "description": "Ultralytics YOLO11n-cls model trained on imagenet.yaml",
        "author": "Ultralytics", "date": "2026-11-01T10:00:00", "version": "8.3.0", "license": "AGPL-3.0", "docs": "",
        "stride": 1, "task": "classify", "batch": 1, "imgsz": [SIDE, SIDE], "names": NAMES, "args": {"batch": 1},
    }  # fmt: skip
    return {key: str(value) for key, value in {**properties, **changes}.items()}


@pytest.fixture(scope="module")
def transform() -> Callable[[Image.Image], torch.Tensor]:
    transform: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
        [transforms.Resize(SIDE), transforms.CenterCrop(SIDE), transforms.ToTensor()]
    )
    return transform


@pytest.fixture(scope="module")
def network(transform: Callable[[Image.Image], torch.Tensor]) -> nn.Module:
    torch.manual_seed(1)
    return lively(Classify(), transform)


def exported(network: nn.Module, height: int, path: Path) -> onnx.ModelProto:
    """As their exporter does it: the network's answers go through a softmax."""
    example = (torch.zeros((1, 3, height, SIDE)),)
    classifier = nn.Sequential(network, nn.Softmax(1)).eval()
    torch.onnx.export(classifier, example, path, input_names=["images"], output_names=["output0"], verbose=False)
    return onnx.load(path)


@pytest.fixture(scope="module")
def square(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return exported(network, SIDE, tmp_path_factory.mktemp("square") / "network.onnx")


def write(path: Path, model: onnx.ModelProto, properties: dict[str, str]) -> Path:
    """The file, with this metadata in place of what the model has."""
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)
    return path


def test_a_classifier(
    network: nn.Module,
    transform: Callable[[Image.Image], torch.Tensor],
    square: onnx.ModelProto,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = published(write(tmp_path / "yolo-cls.onnx", square, metadata()), tmp_path / "models", "--exact")
    labels = ["tench, Tinca tinca", "it's", "crane", "crane (2)", "鱼"]
    assert_alike(served, answers(network, transform), labels)
    assert served.description.info.source.kind == "ultralytics"
    output = capsys.readouterr().out
    assert "[Ultralytics' metadata: imgsz 48x48]" in output
    assert "[names of Ultralytics' metadata]" in output
    assert "probabilities that add up to 1" in output


def test_not_square(network: nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(
        tmp_path / "yolo-cls.onnx", exported(network, 32, tmp_path / "made.onnx"), metadata(imgsz=[32, SIDE])
    )
    published(source, tmp_path / "models")
    assert "stretched to 32x48" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"task": "detect"}, "a network for the task 'detect'; expected 'classify'"),
        ({"names": "{0: __import__('os').system('true')}"}, "its metadata cannot be read"),
        ({"imgsz": "big"}, "its metadata cannot be read"),
        ({"names": {0: "a", 2: "b"}}, "its metadata cannot be read"),
        ({"names": {0: "a", 1: "b"}}, "expected 5 labels, one for each output, got 2"),
        ({"imgsz": [64, 64]}, "prepares images of 64x64, the network takes 48x48"),
    ],
)
def test_what_is_refused(
    change: dict[str, Any], expected: str, square: onnx.ModelProto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "yolo-cls.onnx", square, metadata(**change))
    assert expected in refused(source, tmp_path / "models", capsys)


def test_without_their_metadata_nothing_is_assumed_of_them(
    square: onnx.ModelProto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(write(tmp_path / "other.onnx", square, {"names": "{}", "task": "classify"}), tmp_path / "models")
    assert "no preprocessing was given; assumed is imagenet" in capsys.readouterr().out
