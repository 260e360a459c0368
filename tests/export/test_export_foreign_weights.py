"""Weights and networks as other projects leave them: read where their meaning is plain, else refused, with why."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from covey_export import weights
from covey_export.__main__ import main
from covey_export.errors import InvalidWeights
from covey_export.networks import NETWORKS, Task

LENET = NETWORKS["lenet"]
SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 5, stride=4)
        self.last = nn.Linear(4 * 6 * 6, classes)

    def forward(self, x):
        return self.last(self.conv(x).relu().flatten(1))

class Fixed(Net):
    def __init__(self):
        super().__init__(10)

class Sigmoid(Net):
    def forward(self, x):
        return torch.sigmoid(super().forward(x))

class SigmoidLayer(nn.Sequential):
    def __init__(self, classes):
        super().__init__(Net(classes), nn.Unflatten(1, (classes, 1)), nn.Sigmoid(), nn.Flatten(1))

class Inference(Net):
    '''Made to run, not to be trained: its forward refuses training, and its last layer is a product with a matrix.'''

    def __init__(self, classes=10):
        super().__init__(classes)
        del self.last
        self.matrix = nn.Parameter(torch.randn(4 * 6 * 6, classes))

    def forward(self, x):
        if self.training:
            raise RuntimeError("for inference alone")
        return self.conv(x).relu().view(-1, 4 * 6 * 6) @ self.matrix
"""


@pytest.fixture(autouse=True)
def _in_a_folder_with_own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    (tmp_path / "foreign_networks.py").write_text(SOURCE)
    yield
    sys.modules.pop("foreign_networks", None)


def _lenet(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return LENET.build(Task(LENET.image_shape, 10))


def _load(content: object) -> tuple[nn.Module, str]:
    torch.save(content, "weights.pth")
    network = _lenet(seed=2)
    return network, weights.load(Path("weights.pth")).load_into(network, 10)


def _assert_has(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("key", ["net", "network", "params", "student"])
def test_a_state_dict_below_any_key_is_read(key: str) -> None:
    state = _lenet(seed=1).state_dict()
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    network, _ = _load({key: state, "optimizer": optimizer, "epoch": 3, "acc": 98.2})
    _assert_has(network, state)


def test_of_two_state_dicts_below_unknown_keys_none_is_guessed() -> None:
    state = _lenet(seed=1).state_dict()
    with pytest.raises(InvalidWeights, match=r"several state dicts \(teacher, student\); save the one"):
        _load({"teacher": state, "student": state})


@pytest.mark.parametrize("wrapper", ["model.", "net."])
def test_lightnings_metrics_and_losses_beside_the_network_are_left_out(wrapper: str) -> None:
    state = _lenet(seed=1).state_dict()
    beside = {"train_acc.tp": torch.zeros(10), "loss.weight": torch.ones(10), "val_acc.total": torch.tensor(3)}
    inner = {**{f"{wrapper}{name}": tensor for name, tensor in state.items()}, **beside}
    network, said = _load({"state_dict": inner, "epoch": 1, "pytorch-lightning_version": "2.1"})
    _assert_has(network, state)
    assert "left out what is no part of the network: loss.weight, train_acc.tp, val_acc.total" in said


def test_metrics_among_the_networks_own_names_are_left_out() -> None:
    state = _lenet(seed=1).state_dict()
    network, said = _load({**state, "val_acc.confmat": torch.zeros(10, 10), "train_acc.correct": torch.tensor(0)})
    _assert_has(network, state)
    assert "left out what is no part of the network: train_acc.correct, val_acc.confmat" in said


def test_a_layer_that_the_network_lacks_is_still_refused() -> None:
    state = _lenet(seed=1).state_dict()
    with pytest.raises(InvalidWeights, match=r"extra\.weight: the network has no such tensor"):
        _load({**state, "extra.weight": torch.zeros(3, 3)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_told_when_they_are_loaded(value: float) -> None:
    state = _lenet(seed=1).state_dict()
    state["classifier.1.weight"][0, 0] = value
    with pytest.raises(InvalidWeights, match=r"holds NaN or infinite numbers in 1 tensor, classifier\.1\.weight first"):
        _load(state)


def _save_own(name: str, **arguments: Any) -> None:
    torch.manual_seed(0)
    torch.save(getattr(importlib.import_module("foreign_networks"), name)(**arguments).state_dict(), "own.pth")


def _publish(name: str, *options: str) -> int:
    given = ["--weights", "own.pth", "--epochs", "0", "--pixels", "[0,1]", "--no-report"]
    return main(["all", f"foreign_networks:{name}", "--dataset", "sample", *given, *options])


@pytest.mark.parametrize("name", ["Net", "Fixed"])
def test_a_label_too_many_is_the_labels_fault(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _save_own(name)
    Path("names.txt").write_text("\n".join([*"0123456789", "background"]))
    assert _publish(name, "--labels", "names.txt") == 2
    said = capsys.readouterr().err
    assert "--labels names.txt names 11 classes, the last layer in own.pth gives 10" in said
    assert "one label for each output" in said


def test_weights_that_are_published_as_they_are_need_no_network_that_can_be_trained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _save_own("Inference")
    assert _publish("Inference") == 0, capsys.readouterr().err
    assert "published models/foreign_networks-Inference/1/model.onnx" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "command"), [("Sigmoid", "all"), ("SigmoidLayer", "train")])
def test_a_network_that_ends_in_a_sigmoid_gets_no_softmax_behind_it(
    name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = ["--no-report"] if command == "all" else []
    assert main([command, f"foreign_networks:{name}", "--dataset", "sample", "--epochs", "1", *report]) == 2
    said = capsys.readouterr().err
    assert "ends in Sigmoid" in said
    assert "leave it out" in said
