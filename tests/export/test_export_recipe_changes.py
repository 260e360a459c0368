"""What options change about a recipe, up to the optimizer that trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from covey_export.__main__ import main
from covey_export.checkpoint import load
from covey_export.cli import recipe_changes
from covey_export.cli.parser import build
from covey_export.errors import ExportError
from covey_export.networks import find_network
from covey_export.training import optimization
from covey_export.training.lion import Lion
from covey_export.training.muon import Together
from covey_export.training.recipes import find_recipe


def _changes(network: str, recipe: str, *arguments: str) -> dict[str, Any]:
    options = build().parse_args(["train", network, *arguments])
    return recipe_changes.find(options, find_recipe(network, recipe), find_network(network))


@pytest.mark.parametrize(
    ("network", "recipe", "arguments", "changes"),
    [
        ("mlp", "tutorial", [], {}),
        ("mlp", "tutorial", ["--optimizer", "sgd"], {"optimizer": "sgd"}),
        (
            *("mlp", "tutorial", ["--optimizer", "adam"]),
            {"optimizer": "adam", "learning_rate": 0.001, "momentum": 0.0},
        ),
        (
            *("lenet", "tutorial", ["--optimizer", "sgd", "--learning-rate", "0.2"]),
            {"optimizer": "sgd", "learning_rate": 0.2, "momentum": 0.9},
        ),
        (
            *("resnet", "best", ["--optimizer", "adam"]),
            {"optimizer": "adam", "learning_rate": 0.001, "momentum": 0.0, "nesterov": False, "bias_rate": 1.0},
        ),
        (
            *("lenet", "tutorial", ["--optimizer", "muon"]),
            {"optimizer": "muon", "learning_rate": 0.001, "momentum": 0.95, "nesterov": True},
        ),
        (
            *("vgg", "best", ["--optimizer", "muon", "--momentum", "0"]),
            {"optimizer": "muon", "learning_rate": 0.001, "momentum": 0.0, "nesterov": False},
        ),
        (
            *("vgg", "best", ["--optimizer", "lion"]),
            {"optimizer": "lion", "learning_rate": 0.0001, "momentum": 0.0, "nesterov": False},
        ),
        ("mlp", "tutorial", ["--momentum", "0.5"], {"momentum": 0.5}),
        ("vgg", "best", ["--momentum", "0"], {"momentum": 0.0, "nesterov": False}),
        ("mlp", "tutorial", ["--no-shuffle", "--log-steps", "100"], {"shuffle": False, "log_steps": 100}),
    ],
)
def test_options_change_what_they_say(network: str, recipe: str, arguments: list[str], changes: dict[str, Any]) -> None:
    found = _changes(network, recipe, *arguments)
    assert found == changes
    changed = replace(find_recipe(network, recipe), **found)
    made = optimization.build_optimizer(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), changed)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "muon": Together, "lion": Lion}
    assert type(made) is kinds[changed.optimizer]
    assert made.param_groups[0]["lr"] == changed.learning_rate
    assert made.param_groups[0].get("momentum", 0.0) == changed.momentum


@pytest.mark.parametrize(
    ("network", "arguments", "says"),
    [
        ("lenet", ["--momentum", "0.9"], "--momentum is SGD's and Muon's, this training's optimizer is adam"),
        ("mlp", ["--optimizer", "adamw", "--momentum", "0.9"], "this training's optimizer is adamw"),
        ("lenet", ["--dropout", "0.1"], "lenet has no dropout"),
        ("mlp", ["--epochs", "0"], "it goes with --weights"),
    ],
)
def test_what_cannot_apply_is_refused(network: str, arguments: list[str], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        _changes(network, "tutorial", *arguments)


def test_flags_are_named_as_they_were_given() -> None:
    assert recipe_changes.flags({"augmentation": 1, "learning_rate": 2, "momentum": 0, "nesterov": 0}) == (
        "--augment, --learning-rate, --momentum"
    )


def test_a_training_keeps_them_and_goes_on_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "mlp", "--dataset", "sample", "--epochs", "1", "--batch-size", "500", "--device", "cpu"]
    command += ["--optimizer", "adam", "--no-shuffle", "--log-steps", "4"]
    assert main(command) == 0
    recipe = load(tmp_path / "checkpoints/mlp-sample-tutorial").recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.shuffle, recipe.log_steps) == ("adam", 0.001, False, 4)
    said = capsys.readouterr().out
    assert said.count("] loss: ") == 3
    assert "adam lr 0.001, not shuffled" in said
    assert main([*command, "--optimizer", "sgd"]) == 2
    assert "was begun with optimizer adam, not sgd" in capsys.readouterr().err
    assert main([*command, "--epochs", "2"]) == 0, "the same options go on with it"
