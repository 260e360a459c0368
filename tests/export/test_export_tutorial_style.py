"""Networks as tutorials write them train with every recipe; what cannot be served rightly is told before training."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport

from covey_export import publication
from covey_export.datasets import Dataset
from covey_export.errors import ConversionFailed, InvalidNetwork, UnknownName
from covey_export.networks import Task, find_network
from covey_export.trained_model import TrainedModel
from covey_export.training.recipes import find_recipe, recipes_of
from covey_export.training.run import train

SOURCE = """
import torch
import torch.nn as nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 4 * 4, 120)
        self.fc2 = nn.Linear(120, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 16 * 4 * 4)
        return self.fc2(F.relu(self.fc1(x)))

class Blocks(nn.Module):
    def __init__(self):
        super(Blocks, self).__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(1, 8, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(8, 16, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.fc = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(x))
        x = x.view(x.size(0), -1)
        return self.fc(x)

class OnlyFloat32(Blocks):
    def forward(self, x):
        x = super().forward(x)
        if x.dtype == torch.bfloat16:
            raise TypeError("no bfloat16 here")
        return x

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 10)
    def features(self, x):
        return F.adaptive_avg_pool2d(self.norm(self.conv(x)), 1)
    def forward(self, x):
        return self.fc(self.features(x).flatten(1))

class Squeezed(Small):
    def forward(self, x):
        return self.fc(self.features(x).squeeze())

class LeftOn(Small):
    def forward(self, x):
        return self.fc(F.dropout(self.features(x).flatten(1)))

class MadeInForward(Small):
    def forward(self, x):
        return self.fc(nn.Dropout(0.3)(self.features(x).flatten(1)))

class NoStatistics(Small):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)

class Centred(Small):
    def forward(self, x):
        logits = super().forward(x)
        return logits - logits.mean(0)

class HiddenByZeros(LeftOn):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

class InPlace(Small):
    def forward(self, x):
        x = torch.sigmoid(super().forward(x))
        x *= 2
        return x - 1

class FixedWhenExported(Small):
    def forward(self, x):
        shift = 0.0 if torch.compiler.is_exporting() else 3.0
        return super().forward(x) + shift * torch.arange(10)
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_tutorial.py").write_text(SOURCE)
    yield
    sys.modules.pop("own_tutorial", None)


@pytest.mark.parametrize(("name", "recipe"), [("Net", "tutorial"), ("Blocks", "best")])
def test_a_class_in_a_tutorials_style_trains_and_is_published(
    small: Dataset, tmp_path: Path, name: str, recipe: str
) -> None:
    network = find_network(f"own_tutorial:{name}").fitted_to("sample", (28, 28, 1))
    report = RecordedReport()
    found = find_recipe(network.name, recipe, "sample")
    checkpoint = train(network, small, found, tmp_path / "checkpoint", CPU, report, changes={"epochs": 1})
    notes = [line for line in report.text.splitlines() if line.startswith("note: trained with contiguous tensors: ")]
    assert len(notes) == found.channels_last
    assert not checkpoint.recipe.channels_last
    published = publication.publish(
        TrainedModel(network, checkpoint, small), tmp_path / "models", network.model_name, report
    )
    assert published.verification.disagreements == 0


def test_a_network_that_has_no_bfloat16_is_trained_in_float32(small: Dataset, tmp_path: Path) -> None:
    network = find_network("own_tutorial:OnlyFloat32").fitted_to("sample", (28, 28, 1))
    report = RecordedReport()
    recipe = find_recipe(network.name, "best", "sample")
    checkpoint = train(network, small, recipe, tmp_path / "checkpoint", CPU, report, changes={"epochs": 1})
    assert checkpoint.recipe.precision == "float32"
    assert "note: trained in float32: in bfloat16 it raised TypeError: no bfloat16 here (own_tut" in report.text
    changes = {"epochs": 1, "precision": "bfloat16"}
    with pytest.raises(InvalidNetwork, match=r"no bfloat16 here \(own_tutorial.py:\d+: .*\); use --precision float32"):
        train(network, small, recipe, tmp_path / "other", CPU, report, changes=changes)


def test_own_networks_have_the_recipes_of_the_tutorials() -> None:
    recipes = recipes_of("own_tutorial:Net", "mnist")
    assert next(iter(recipes)) == "best", "the one that is used unless another is named"
    assert recipes["tutorial"] == recipes_of("mnist-cnn")["tutorial"]
    assert recipes_of("own_tutorial:Net", "cifar10")["tutorial"] == recipes_of("cifar-net")["tutorial"]
    deep = find_recipe("own_tutorial:Net", "mnist-deep-tutorial")
    assert (deep.name, deep.optimizer, deep.shuffle) == ("mnist-deep-tutorial", "adam", False)
    assert "tutorial" not in recipes_of("torchvision:resnet18"), "those are not a tutorial's"
    with pytest.raises(UnknownName, match="no recipe of conv-demo is named 'fine-tune'"):
        find_recipe("conv-demo", "fine-tune")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Squeezed", r"gives \(10,\) for a single image, expected \(1, 10\): the batch axis is lost where it is 1"),
        ("LeftOn", "other logits for the same images each time, in evaluation mode too; expected the same. Random"),
        ("MadeInForward", r"other logits for the same images each time.*make nn.Dropout in __init__"),
        ("HiddenByZeros", "other logits for the same images each time"),
        (
            "NoStatistics",
            r"alone than beside others.*without running statistics does that \(norm\): leave",
        ),
        ("Centred", r"other logits when it comes alone than beside others.* never over axis 0"),
    ],
)
def test_answers_that_depend_on_chance_or_neighbours_are_found_before_training(name: str, message: str) -> None:
    network = find_network(f"own_tutorial:{name}").fitted_to("pictures", (28, 28, 1))
    with pytest.raises(InvalidNetwork, match=re.compile(message, re.DOTALL)):
        network.build(Task((28, 28, 1), 10))


def test_the_trial_changes_no_weight() -> None:
    network = find_network("own_tutorial:Blocks").fitted_to("pictures", (28, 28, 1))
    torch.manual_seed(3)
    built = network.build(Task((28, 28, 1), 10))
    torch.manual_seed(3)
    plain = sys.modules["own_tutorial"].Blocks()
    assert all(torch.equal(one, other) for one, other in zip(built.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("InPlace", InvalidNetwork, "cannot be trained: forward and backward of 4 images raised RuntimeError: one of"),
        ("FixedWhenExported", ConversionFailed, "for 1 image the ONNX graph gives other probabilities than PyTorch"),
    ],
)
def test_what_cannot_be_trained_or_exported_rightly_is_found_before_the_first_step(
    small: Dataset, tmp_path: Path, name: str, kind: type[Exception], message: str
) -> None:
    network = find_network(f"own_tutorial:{name}").fitted_to("sample", (28, 28, 1))
    with pytest.raises(kind, match=message):
        train(network, small, find_recipe(network.name), tmp_path / "checkpoint", CPU, RecordedReport())
    assert not (tmp_path / "checkpoint").exists()
