"""State dicts of torchvision's, timm's and own networks are served as the library itself would answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from tests.export.importing.imports import published, refused
from tests.export.importing.library_answers import answers, assert_alike, assert_close, lively, served_answers
from torch import nn
from torchvision import transforms

from covey_export.networks import Task, find_network, torchvision_networks
from covey_proto import metadata
from covey_proto.v1.classifier_pb2 import ImageSpec

CLASSES = 7


def torchvision_network(name: str) -> tuple[nn.Module, Callable[[Image.Image], torch.Tensor]]:
    torch.manual_seed(1)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return lively(torchvision.models.get_model(name, num_classes=CLASSES), transform), transform


@pytest.mark.parametrize("name", ["squeezenet1_1", pytest.param("resnet18", marks=pytest.mark.recipes)])
def test_torchvision(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, transform = torchvision_network(name)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join("abcdefg"))
    served = published(
        tmp_path / "weights.pth",
        tmp_path / "models",
        "--network",
        f"torchvision:{name}",
        "--exact",
        "--labels",
        labels,
    )
    probabilities, names = served_answers(tmp_path / "models", CLASSES)
    assert_close(probabilities, answers(network, transform))
    assert names == list("abcdefg")
    info = served.description.info
    assert (info.source.kind, info.source.file, info.source.input_layout) == ("torch", "weights.pth", "NCHW")
    info_in_file = metadata.from_json(served.engine.metadata[metadata.KEY])
    assert info_in_file.golden_set.reference == "pytorch"
    assert info.build.torch_version == torch.__version__
    assert info.source.max_batch == 0
    output = capsys.readouterr().out
    assert "weights.pth does not say how its images were prepared; assumed is what torchvision's" in output
    assert f"[torchvision's {torchvision.models.get_model_weights(name).IMAGENET1K_V1}]" in output


def wrapped(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


# Other wrappers are tested without a conversion: test_export_given_weights.
CHECKPOINTS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "ema": lambda tensors: {
        "model": {name: torch.zeros_like(tensor) for name, tensor in tensors.items()},
        "state_dict_ema": wrapped("module.", tensors),
    },
    "half": lambda tensors: {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()},
    "averaged, metrics beside": lambda tensors: {
        "n_averaged": torch.tensor(5),
        **wrapped("net.", tensors),
        "accuracy.tp": torch.zeros(3),
    },
}


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("test_resnet", 0),  # 160x160, crop_pct 0.95, bilinear
        ("test_vit", 64),  # made for 160x160
        pytest.param("test_vit", 0, marks=pytest.mark.recipes),
        pytest.param("resnet10t", 0, marks=pytest.mark.recipes),  # 176x176, crop_pct 0.875
        pytest.param("mobilenetv3_small_050", 0, marks=pytest.mark.recipes),
        pytest.param("vit_tiny_patch16_224", 0, marks=pytest.mark.recipes),  # crop_pct 0.9, mean 0.5
    ],
)
def test_timm(name: str, side: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = timm.create_model(name, num_classes=CLASSES, **({"img_size": side} if side else {}))
    settings = timm.data.resolve_model_data_config(module, {"img_size": side} if side else {})
    transform = timm.data.create_transform(**settings)
    lively(module, transform)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "weights.safetensors")
    options = ("--network", f"timm:{name}", "--exact", *(("--image-size", side) if side else ()))
    served = published(tmp_path / "weights.safetensors", tmp_path / "models", *options)
    assert_alike(served, answers(module, transform))
    info = served.description.info
    assert info.source.kind == "timm"
    bilinear = settings["interpolation"] == "bilinear"
    assert info.input.interpolation == (
        ImageSpec.INTERPOLATION_BILINEAR if bilinear else ImageSpec.INTERPOLATION_BICUBIC
    )


OWN = """
import torch, torchvision
from torch import nn
from types import SimpleNamespace

class Net(nn.Module):
    def __init__(self, num_classes=4, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, stride=2)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))

class Logits(Net):
    def forward(self, x):
        from transformers.modeling_outputs import ImageClassifierOutput
        return ImageClassifierOutput(logits=super().forward(x))

def fixed():
    return Net(5)

def grey():
    return Net(3, 1)

class Features(Net):
    def forward(self, x):
        return {"features": self.conv(x)}

class Detector(Net):
    def forward(self, x):
        return super().forward(x), self.conv(x)

class Loops(Net):
    def forward(self, x):
        return torch.cat([super(Loops, self).forward(each[None]) for each in x])
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a user's module in the current folder."""
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield "my_networks"
    sys.modules.pop("my_networks", None)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_wrapped_weights(kind: str, module: str, tmp_path: Path) -> None:
    __import__(module)
    torch.manual_seed(1)
    transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    network = lively(sys.modules[module].Net(CLASSES), transform)
    torch.save(CHECKPOINTS[kind](network.state_dict()), tmp_path / "weights.pt")
    options = ("--network", f"{module}:Net", "--like", "0..1", "--image-size", 32)
    served = published(tmp_path / "weights.pt", tmp_path / "models", *options)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.tensor(pixels / 255, dtype=torch.float32).permute(0, 3, 1, 2)).softmax(1).numpy()
    assert np.ptp(expected, axis=1).min() > 0.2  # weights that were not read give all classes the same
    np.testing.assert_allclose(served.engine.run(pixels), expected, atol=1e-4 if kind != "half" else 0.02)


@pytest.mark.parametrize(("function", "classes"), [("Net", 6), ("Logits", 6), ("fixed", 5), ("grey", 3)])
def test_own(function: str, classes: int, module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    __import__(module)
    network_function = getattr(sys.modules[module], function)
    network = network_function(num_classes=classes) if isinstance(network_function, type) else network_function()
    torch.save({"net." + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "own.pt")
    served = published(
        tmp_path / "own.pt", tmp_path / "models", "--network", f"{module}:{function}", "--image-size", "40x32"
    )
    spec = served.description.input
    assert spec.shape == (40, 32, 1 if function == "grey" else 3)
    assert len(served.description.info.labels) == classes
    assert "no preprocessing was given; assumed is" in capsys.readouterr().out


def test_a_network_that_can_be_exported_for_single_images_alone(
    module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    __import__(module)
    network = sys.modules[module].Loops(4).eval()
    torch.save(network.state_dict(), tmp_path / "own.pt")
    options = ("--network", f"{module}:Loops", "--image-size", 16, "--like", "0..1")
    served = published(tmp_path / "own.pt", tmp_path / "models", *options)
    assert "can be exported for single images alone" in capsys.readouterr().out
    pixels = np.random.default_rng(1).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.tensor(pixels / 255, dtype=torch.float32).permute(0, 3, 1, 2)).softmax(1).numpy()
    for size in (1, 2, 3, 7):
        np.testing.assert_allclose(served.engine.run(pixels[:size]), expected[:size], atol=1e-5)


def test_timm_networks_can_be_trained_too() -> None:
    network = find_network("timm:test_vit").fitted_to("here", (64, 64, 3))  # made for 160x160
    module = network.build(Task((64, 64, 3), 5, dropout=0.1))
    with torch.inference_mode():
        assert module.eval()(torch.zeros((2, 3, 64, 64))).shape == (2, 5)


def test_files_of_torchvision_are_known_by_their_digest() -> None:
    by_digest = torchvision_networks.preparation("resnet50", "0676ba61" + 56 * "0")
    assert (by_digest.name, by_digest.resize_to, by_digest.is_known) == ("ResNet50_Weights.IMAGENET1K_V1", 256, True)
    assert len(by_digest.labels) == 1000
    by_name = torchvision_networks.preparation("resnet50", 64 * "0")
    assert (by_name.name, by_name.resize_to, by_name.is_known) == ("ResNet50_Weights.IMAGENET1K_V2", 232, False)
    own_preparation = torchvision_networks.preparation("googlenet", "1378be20" + 56 * "0")
    assert own_preparation.mean == (0.5, 0.5, 0.5)  # its network normalises for itself


def test_as_many_outputs_as_imagenet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "weights.pth")
    options = ("--network", "torchvision:squeezenet1_1", "--image-size", 32)
    served = published(tmp_path / "weights.pth", tmp_path / "models", *options)
    labels = list(served.description.info.labels)
    assert labels[0] == "tench"
    assert "crane" in labels
    output = capsys.readouterr().out
    assert "which have as many outputs]" in output
    assert "assumed are ImageNet's, as there are 1,000 outputs" in output


def test_what_is_refused(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    __import__(module)
    net = sys.modules[module].Net(4)
    models, own_file = tmp_path / "models", tmp_path / "own.pt"
    torch.save(net.state_dict(), own_file)
    weights = tmp_path / "weights.pt"
    torch.save(torchvision.models.squeezenet1_1(num_classes=CLASSES).state_dict(), weights)

    def message(source: Path, *options: object) -> str:
        return refused(source, models, capsys, *options)

    assert "--network torchvision:NAME" in message(weights)
    assert "are not this network's" in message(own_file, "--network", "torchvision:resnet18")
    assert "the file has conv.weight" in message(own_file, "--network", "torchvision:resnet18")
    assert "resnet18" in message(weights, "--network", "torchvision:resnet81")
    assert "resnet18" in message(weights, "--network", "timm:resnet81")
    assert "there is no module" in message(weights, "--network", "nothing:Net")
    assert "Expected MODULE:FUNCTION".lower() in message(weights, "--network", "my_networks.py:Net").lower()
    assert "gives a dict without logits" in message(own_file, "--network", f"{module}:Features")
    assert "gives a tuple without logits" in message(own_file, "--network", f"{module}:Detector")
    assert "cannot take images" in message(own_file, "--network", f"{module}:Net", "--image-size", "1")
    scripted = tmp_path / "scripted.pt"
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.save(torch.jit.script(net), scripted)
    assert "is TorchScript" in message(scripted, "--network", f"{module}:Net")
    assert "it is TorchScript" in message(scripted)
    whole_module = tmp_path / "whole.pt"
    torch.save(net, whole_module)
    assert "holds more than tensors and plain values" in message(whole_module, "--network", f"{module}:Net")
    pointer = tmp_path / "pointer.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git lfs pull" in message(pointer, "--network", f"{module}:Net")
    empty = tmp_path / "empty.pt"
    empty.touch()
    assert "it is empty" in message(empty, "--network", f"{module}:Net")
    assert "No such file" in message(tmp_path / "none.pt", "--network", f"{module}:Net")
    cut = tmp_path / "cut.pt"
    cut.write_bytes(own_file.read_bytes()[:500])
    assert "is damaged" in message(cut, "--network", f"{module}:Net")
    torch.save({name: tensor * float("nan") for name, tensor in net.state_dict().items()}, own_file)
    assert "NaN or infinite" in message(own_file, "--network", f"{module}:Net")


def test_no_code_of_a_checkpoint_runs(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = tmp_path / "ran"

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    torch.save({"conv.weight": Bad()}, tmp_path / "bad.pt")
    assert "would have to run code" in refused(
        tmp_path / "bad.pt", tmp_path / "models", capsys, "--network", f"{module}:Net"
    )
    assert not ran.exists()
