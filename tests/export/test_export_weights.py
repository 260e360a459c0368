"""Weights to begin with: every form of file that holds them, what is replaced, and what is refused with which words."""

from __future__ import annotations

import argparse
import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport
from torch import nn

from covey_export import checkpoint as checkpoints
from covey_export import head, weights
from covey_export.datasets import Dataset
from covey_export.errors import InvalidWeights
from covey_export.networks import NETWORKS, Task, find_network
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_export.weights import Weights

LENET = NETWORKS["lenet"]


def _lenet(classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return LENET.build(Task(LENET.image_shape, classes))


def _assert_equal(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    state = network.state_dict()
    assert state.keys() == tensors.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def _prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": state},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        _prefixed("module."),
        _prefixed("module._orig_mod."),
        lambda state: {"state_dict": _prefixed("module.")(state)},
    ],
)
def test_every_form_of_state_dict_is_read(tmp_path: Path, wrap: Callable[[dict[str, Any]], object]) -> None:
    state = _lenet(seed=1).state_dict()
    torch.save(wrap(state), tmp_path / "weights.pth")
    network = _lenet(seed=2)
    found = weights.load(tmp_path / "weights.pth")
    assert (found.name, found.mean, found.std) == ("weights.pth", None, None)
    assert found.load_into(network, 10) == "begins from weights.pth"
    _assert_equal(network, state)


def test_a_network_whose_own_names_begin_with_module_keeps_them(tmp_path: Path) -> None:
    network = nn.ModuleDict({"module": nn.Linear(4, 4), "last": nn.Linear(4, 2)})
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    assert weights.load(tmp_path / "weights.pth").tensors.keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", ["", checkpoints.FILE, "copied.pt"])
def test_a_checkpoint_of_coveys_gives_what_it_would_serve(small: Dataset, tmp_path: Path, name: str) -> None:
    recipe = dataclasses.replace(find_recipe("mlp", "best"), epochs=1, train_images=600, precision="float32")
    checkpoint = train(NETWORKS["mlp"], small, recipe, tmp_path / "mlp", CPU, RecordedReport())
    assert checkpoint.average is not None
    if name == "copied.pt":
        (tmp_path / "mlp" / checkpoints.FILE).rename(tmp_path / "mlp" / name)
    found = weights.load(tmp_path / "mlp" / name)
    assert found.name == "mlp trained on sample"
    assert (found.mean, found.std) == (checkpoint.recipe.mean, checkpoint.recipe.std)
    network = NETWORKS["mlp"].build(Task((28, 28, 1), 10))
    found.load_into(network, 10)
    _assert_equal(network, dict(checkpoint.trained_weights))


def test_a_training_that_begins_with_weights_has_them(small: Dataset, tmp_path: Path) -> None:
    state = _lenet(seed=3).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    report = RecordedReport()
    checkpoint = train(
        LENET,
        small,
        find_recipe("lenet", "fine-tune"),
        tmp_path,
        CPU,
        report,
        changes={"epochs": 0},
        weights=weights.load(tmp_path / "weights.pth"),
    )
    assert checkpoint.started_from == "weights.pth"
    assert "begins from weights.pth" in report.text
    _assert_equal(TrainedModel(LENET, checkpoint, small).classifier.network, state)


def test_a_training_with_frozen_layers_changes_the_last_one_alone(small: Dataset, tmp_path: Path) -> None:
    state = _lenet(seed=3).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    checkpoint = train(
        LENET,
        small,
        find_recipe("lenet", "fine-tune"),
        tmp_path,
        CPU,
        RecordedReport(),
        changes={"epochs": 1, "freeze": True},
        weights=weights.load(tmp_path / "weights.pth"),
    )
    last = head.find(_lenet(), 10)
    changed = {name for name, tensor in checkpoint.trained_weights.items() if not torch.equal(tensor, state[name])}
    assert changed == {f"{last}.weight", f"{last}.bias"}


# The kinds of last layer: linear, convolution, deep inside a sequence, under a name of its own.
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("torchvision:squeezenet1_1", "classifier.1"),
        ("torchvision:densenet121", "classifier"),
        pytest.param("torchvision:vit_b_32", "heads.head", marks=pytest.mark.recipes),
        ("torchvision:mobilenet_v3_small", "classifier.3"),
        ("torchvision:shufflenet_v2_x0_5", "fc"),
        ("torchvision:mnasnet0_5", "classifier.1"),
        ("lenet", None),
        ("resnet", None),
    ],
)
def test_a_last_layer_for_other_classes_starts_anew(name: str, last: str | None) -> None:
    network = find_network(name)
    shape = (64, 64, 3) if network.only_rgb else network.image_shape
    torch.manual_seed(0)
    given, module = network.build(Task(shape, 7)), network.build(Task(shape, 3))
    last = last or head.find(module, 3)
    fresh = {key: tensor.clone() for key, tensor in module.state_dict().items() if key.startswith(f"{last}.")}
    assert head.find(module, 3) == last
    assert len(fresh) == 2
    said = Weights("seven.pth", given.state_dict()).load_into(module, 3)
    assert said == "begins from seven.pth; its last layer is for other classes and starts anew"
    _assert_equal(module, {**given.state_dict(), **fresh})


def test_averaged_weights_of_a_network_with_a_version_of_its_own_are_served(tmp_path: Path, small: Dataset) -> None:
    # MNASNet refuses a state dict without the versions of its modules.
    network = find_network("torchvision:mnasnet0_5").fitted_to("squares", (32, 32, 3))
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8).numpy()
    labels = small.train_labels[:8]
    squares = dataclasses.replace(
        small, name="squares", train_images=images, train_labels=labels, test_images=images, test_labels=labels
    )
    recipe = find_recipe(network.name, "fine-tune")
    changes = {"epochs": 0, "precision": "float32"}
    train(network, squares, recipe, tmp_path, CPU, RecordedReport(), changes=changes)
    checkpoint = checkpoints.load(tmp_path)
    assert checkpoint.average is not None
    _assert_equal(TrainedModel(network, checkpoint, squares).classifier.network, dict(checkpoint.trained_weights))


def test_what_older_files_lack_or_have_besides_does_no_harm() -> None:
    torch.manual_seed(0)
    network = find_network("torchvision:googlenet").build(Task((64, 64, 3), 5))
    state = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    given = {**state, "aux1.conv.conv.weight": torch.zeros(128, 512, 1, 1), "aux2.fc2.bias": torch.zeros(1000)}
    assert Weights("old.pth", given).load_into(network, 5) == "begins from old.pth"


def test_the_names_of_old_densenet_files_are_understood(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = find_network("torchvision:densenet121").build(Task((64, 64, 3), 5))
    state = network.state_dict()
    old = {name: tensor for name, tensor in state.items() if "denselayer" not in name}
    for name in state.keys() - old.keys():
        for layer in ("norm", "conv"):
            for number in "12":
                if f"denselayer1.{layer}{number}." in name or f".{layer}{number}." in name:
                    old[name.replace(f".{layer}{number}.", f".{layer}.{number}.")] = state[name]
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121.pth")
    assert weights.load(tmp_path / "densenet121.pth").load_into(network, 5) == "begins from densenet121.pth"


def test_tensors_of_another_shape_are_named() -> None:
    given = _lenet().state_dict()
    names = list(given)
    given[names[0]] = torch.zeros(6, 3, 5, 5)
    del given[names[3]]
    given["extra.weight"] = torch.zeros(1)
    expected = (
        rf"the weights in file.pth are not this network's: {names[0]}: \(6, 3, 5, 5\), the network has \(6, 1, 5, 5\); "
        rf"{names[3]}: missing; extra.weight: the network has no such tensor$"
    )
    network = _lenet(seed=5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InvalidWeights, match=expected):
        Weights("file.pth", given).load_into(network, 10)
    _assert_equal(network, before)


def test_a_last_layer_of_another_width_is_not_one_for_other_classes() -> None:
    network = _lenet()
    last = head.find(network, 10)
    given = {**network.state_dict(), f"{last}.weight": torch.zeros(10, 99)}
    with pytest.raises(InvalidWeights, match=rf"{last}.weight: \(10, 99\), the network has \(10, 84\)$"):
        Weights("file.pth", given).load_into(network, 10)


def test_weights_of_another_network_are_refused_with_the_first_tensors_and_their_number() -> None:
    other = find_network("torchvision:resnet18").build(Task((64, 64, 3), 10)).state_dict()
    with pytest.raises(InvalidWeights, match=r"resnet18.pth are not this network's: .*: missing.* and \d+ more$"):
        Weights("resnet18.pth", other).load_into(_lenet(), 10)


def _write_nothing(file: Path) -> None:
    pass


def _write_damaged(file: Path) -> None:
    torch.save(_lenet().state_dict(), file)
    file.write_bytes(file.read_bytes()[:-2000])


def _write_module(file: Path) -> None:
    torch.save(_lenet(), file)


def _write_options(file: Path) -> None:
    torch.save({"state_dict": _lenet().state_dict(), "args": argparse.Namespace(lr=1)}, file)


def _write_old_checkpoint(file: Path) -> None:
    torch.save({"recipe": {"augmentation": None, "colour": 1}, "history": [], "model": {}}, file)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            _write_nothing,
            r"there are no weights in .*weights.pth; expected a file of torch.save or a folder with a check",
        ),
        (_write_damaged, r"weights.pth \([\d,]+ bytes\) is damaged, or no file of PyTorch's; expected"),
        (lambda file: file.write_bytes(b""), r"weights.pth \(0 bytes\) is damaged"),
        (lambda file: file.write_text("<html>"), "weights.pth is a web page, not weights; download the file itself"),
        (_write_module, r"holds more than tensors .*; expected what torch.save\(network.state_dict\(\), FILE\) writes"),
        (_write_options, "holds more than tensors and plain values"),
        (lambda file: torch.save(torch.zeros(3), file), "weights.pth holds a Tensor; expected tensors by their names"),
        (lambda file: torch.save({}, file), "weights.pth holds a dict; expected tensors by their names"),
        (
            lambda file: torch.save({"epoch": 3, "best": [0.5]}, file),
            "weights.pth is no state dict: epoch is a int, best is a list; expected tensors by their names, alone or",
        ),
        (_write_old_checkpoint, "weights.pth is a checkpoint of another version of Covey"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "weights.pth")
    with pytest.raises(InvalidWeights, match=message):
        weights.load(tmp_path / "weights.pth")


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match="there are no weights in"):
        weights.load(tmp_path)


class _Forgery:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.mkdir, (self._path,))


def test_a_forged_file_is_refused_without_being_run(tmp_path: Path) -> None:
    torch.save({"weight": _Forgery(tmp_path / "was-run")}, tmp_path / "weights.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(_Forgery(tmp_path / "was-run")))
    for name in ("weights.pth", "old.pth"):
        with pytest.raises(InvalidWeights, match="holds more than tensors and plain values"):
            weights.load(tmp_path / name)
    assert not (tmp_path / "was-run").exists()


class Within(nn.Module):
    """Its modules are called as wrappers are."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(images)
        return found


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.model.", "model.net."])
@pytest.mark.parametrize("inner", [False, True])
def test_modules_that_are_called_as_wrappers_are(tmp_path: Path, prefix: str, inner: bool) -> None:
    trained, fresh = Within(), Within()
    tensors = (trained.net if inner else trained).state_dict()
    torch.save({prefix + name: tensor for name, tensor in tensors.items()}, tmp_path / "w.pth")
    weights.load(tmp_path / "w.pth").load_into(fresh, 10)
    assert torch.equal(fresh.get_parameter("net.1.weight"), trained.get_parameter("net.1.weight"))


def test_of_several_state_dicts_the_one_that_is_taken_is_named(tmp_path: Path) -> None:
    plain, average = nn.Linear(4, 3), nn.Linear(4, 3)
    torch.save({"model": plain.state_dict(), "model_ema": average.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    found = weights.load(tmp_path / "w.pth")
    assert found.part == ": its model_ema, not its model"
    assert torch.equal(found.tensors["weight"], average.weight)


@pytest.mark.parametrize("ema", [{}, {"decay": 0.99, "updates": 3}])
def test_an_average_without_tensors_is_passed_over(tmp_path: Path, ema: dict[str, float]) -> None:
    plain = nn.Linear(4, 3)
    torch.save({"model": plain.state_dict(), "ema": ema}, tmp_path / "w.pth")
    found = weights.load(tmp_path / "w.pth")
    assert found.part == ""
    assert torch.equal(found.tensors["weight"], plain.weight)
