"""Networks as both of PyTorch's exporters write them, and files that come with the onnx package."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tests.export.importing.imports import by_own_input, images, published, softmax
from torchvision.models import SqueezeNet, VisionTransformer

SIDE, CLASSES = 64, 5
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    network: torch.nn.Module
    if name == "squeezenet":
        network = SqueezeNet("1_1", num_classes=CLASSES)
    else:
        network = VisionTransformer(SIDE, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES)
        for parameter in network.parameters():  # fresh, it would answer all images alike
            torch.nn.init.normal_(parameter, std=0.4)
    return network.eval()


def export(module: torch.nn.Module, path: Path, batch: int | None, *, dynamo: bool) -> Path:
    """For a fixed number of images, or for any (None)."""
    example = (torch.zeros((batch or 2, 3, SIDE, SIDE)),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter is deprecated, and traces what it warns of
        if dynamo:
            shapes = None if batch else ({0: torch.export.Dim("batch")},)
            torch.onnx.export(module, example, path, dynamo=True, dynamic_shapes=shapes, verbose=False)
        else:
            axes = None if batch else {"x": {0: "batch"}, "y": {0: "batch"}}
            torch.onnx.export(
                module, example, path, dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
                dynamic_axes=axes,
            )  # fmt: skip
    return path


# The newer exporter takes 2 s: each network with any number of images, and each fixed number once.
@pytest.mark.parametrize(
    ("name", "exporter", "batch"),
    [
        *((name, "older", batch) for name in ("squeezenet", "transformer") for batch in (None, 1, 8)),
        ("squeezenet", "newer", None),
        ("squeezenet", "newer", 1),
        ("transformer", "newer", None),
        ("transformer", "newer", 8),
    ],
)
def test_pytorch(name: str, exporter: str, batch: int | None, tmp_path: Path) -> None:
    module = network(name)
    source = export(module, tmp_path / "network.onnx", batch, dynamo=exporter == "newer")
    served = published(source, tmp_path / "models", "--like", "imagenet")
    pixels = images(7, (SIDE, SIDE, 3))
    prepared = ((pixels / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        expected = softmax(module(torch.tensor(prepared)).numpy())
    assert np.ptp(expected, axis=0).max() > 1e-3  # else nothing would be compared
    np.testing.assert_allclose(softmax(by_own_input(tmp_path / "models", prepared)), expected, atol=1e-4)
    for size in (1, 2, 3, 7):
        np.testing.assert_allclose(served.engine.run(pixels[:size]), expected[:size], atol=1e-5)
    assert served.description.info.source.max_batch == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", pytest.param("resnet50", marks=pytest.mark.recipes)])
def test_files_of_the_onnx_package(name: str, tmp_path: Path) -> None:
    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    served = published(folder / f"light_{name}.onnx", tmp_path / "models")
    recorded = onnx.TensorProto.FromString((folder / f"light_{name}_output_0.pb").read_bytes())
    expected = numpy_helper.to_array(recorded).reshape(1, 1000)
    np.testing.assert_allclose(served.engine.run(images(1, (224, 224, 3))), expected, atol=1e-6)
    assert served.description.info.source.max_batch == 0
