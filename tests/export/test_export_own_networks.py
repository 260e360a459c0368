"""A user's own network, `module:function`: what it is given, and what is said of one that is not what it should be."""

from __future__ import annotations

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
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train

SOURCE = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, classes, channels=3):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.last = nn.Linear(8 * 4 * 4, classes)

    def forward(self, images):
        return self.last(self.features(images).flatten(1))

def everything(*, classes, channels, height, width, dropout=0.25, depth=2):
    network = Tiny(classes, channels)
    network.told = (classes, channels, height, width, dropout, depth)
    return network

def by_usual_name(num_classes=1000, **options):
    assert not options
    return Tiny(num_classes)

def fixed():
    return Tiny(7)

def needy(classes, depth, kernel):
    return Tiny(classes)

def text(classes):
    return "a network"

def raising(classes):
    raise RuntimeError("no such layer\\nsecond line")

def softmax(classes):
    return nn.Sequential(Tiny(classes), nn.Softmax(dim=1))

def pair(classes):
    class Pair(Tiny):
        def forward(self, images):
            return super().forward(images), images
    return Pair(classes)

def nothing_finite(classes):
    network = Tiny(classes)
    nn.init.constant_(network.last.bias, float("nan"))
    return network

def grey_only(classes):
    return Tiny(classes, channels=1)

def branching(classes):
    class Branching(Tiny):
        def forward(self, images):
            logits = super().forward(images)
            return -logits if logits.mean() > 0.1 else logits
    return Branching(classes, channels=1)

def looping(classes):
    class Looping(Tiny):
        def forward(self, images):
            return torch.cat([super(Looping, self).forward(image[None]) for image in images])
    return Looping(classes, channels=1)

def inner(classes):
    class Inner(Tiny):
        def forward(self, images):
            return self.last(images.flatten(1))  # which torch refuses, lines deeper
    return Inner(classes)

def enormous(classes):
    network = Tiny(classes)
    network.more = nn.Parameter(torch.empty(600_000_000))  # never touched, so the memory is never taken
    return network

INSTANCE = Tiny(10)
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_networks.py").write_text(SOURCE)
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "inner.py").write_text("from own_networks import Tiny\n")
    (tmp_path / "own_broken.py").write_text("import torch\nraise ValueError('half written')\n")
    (tmp_path / "own_typing.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "own_missing.py").write_text("import a_module_nobody_has\n")
    (tmp_path / "own_leaving.py").write_text("import sys\nsys.exit('usage: own_leaving')\n")
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def test_what_a_function_declares_is_passed() -> None:
    network = find_network("own_networks:everything")
    assert (network.name, network.model_name) == ("own_networks:everything", "own_networks-everything")
    assert (network.takes_dropout, network.only_rgb, network.smallest_side) == (True, False, 1)
    fitted = network.fitted_to("pages", (20, 30, 1))
    assert fitted.build(Task((20, 30, 1), 4)).told == (4, 1, 20, 30, 0.25, 2)
    assert fitted.build(Task((20, 30, 1), 4, 0.5)).told == (4, 1, 20, 30, 0.5, 2)
    assert find_network("own_networks:by_usual_name").build(Task((20, 30, 3), 4)) is not None
    assert find_network("own_package.inner:Tiny").build(Task((20, 30, 1), 4)) is not None, "a class is a function too"


def test_nothing_random_is_used_up_and_the_mode_is_kept() -> None:
    network = find_network("own_networks:everything")
    torch.manual_seed(0)
    module = network.build(Task((8, 8, 1), 4))
    drawn = torch.rand(1)
    torch.manual_seed(0)
    sys.modules["own_networks"].Tiny(4, 1)
    assert torch.equal(drawn, torch.rand(1))
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "own_network:fixed",
            r"no module 'own_network' in .*; there: own_broken, .* Did you mean own_networks:fixed\?",
        ),
        ("own_networks.deeper:fixed", "there is no module 'own_networks.deeper' in"),
        (
            "torchvison:resnet18",
            r"no module 'torchvison' .* Did you mean torchvision:resnet18\? Expected torchvision:NAME",
        ),
        (":fixed", "there is no module '' in"),
        ("own_networks:everythingg", r"no function of own_networks is named 'everythingg'. Did you mean everything\?"),
        ("own_networks:", r"no function of own_networks is named ''"),
    ],
)
def test_an_unknown_module_or_function_gets_the_nearest_names(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        find_network(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_broken:anything", r"importing own_broken raised ValueError: half written \(own_broken.py:2: raise "),
        (
            "own_missing:anything",
            r"importing .* ModuleNotFoundError: No module named 'a_module_nobody_has' \(own_missing.py:1: import ",
        ),
        ("own_leaving:anything", r"importing own_leaving raised SystemExit: usage: own_leaving \(own_leaving.py:2: "),
        ("own_typing:anything", r"importing own_typing raised SyntaxError: .* \(own_typing.py:2: def f\(:\)$"),
        ("own_networks:INSTANCE", "own_networks:INSTANCE is a Tiny; expected a function that makes the network"),
        ("own_networks:needy", "needs depth, kernel, which Covey cannot know; give it a default"),
    ],
)
def test_what_cannot_be_used_is_refused_when_it_is_named(name: str, message: str) -> None:
    with pytest.raises(InvalidNetwork, match=message) as caught:
        find_network(name)
    assert ("importing" in message) == (caught.value.__cause__ is not None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("text", "own_networks:text gave a str; expected a torch.nn.Module"),
        ("raising", r"raising raised RuntimeError: no such layer \(own_networks.py:\d+: raise RuntimeError.*\)$"),
        ("inner", r"it raised RuntimeError: mat1 .* \(own_networks.py:\d+: return self.last\(images"),
        (
            "fixed",
            r"own_networks:fixed gives \(3, 7\) for N = 3; expected one tensor of logits \[N, 10\], one per class",
        ),
        ("pair", r"own_networks:pair gives a tuple; expected one tensor of logits \[N, 10\]"),
        ("softmax", r"gives probabilities \(each row adds up to 1\); .*: leave out its softmax"),
        ("nothing_finite", "gives torch.float32 values that are not all finite numbers"),
        ("enormous", r"has 600,00\d,\d+ parameters, 2.4 GB; a model is one ONNX file, which holds at most 2.1 GB"),
        ("grey_only", r"cannot take images of 16x16 RGB: for \(3, 3, 16, 16\) float32 it raised RuntimeError: "),
    ],
)
def test_a_network_that_does_not_give_the_classes_is_found_before_training(name: str, message: str) -> None:
    network = find_network(f"own_networks:{name}").fitted_to("pictures", (16, 16, 3))
    with pytest.raises(InvalidNetwork, match=message):
        network.build(Task((16, 16, 3), 10))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "branching",
            (
                r"torch cannot export Branching to ONNX: GuardOnDataDependentSymNode: .* "
                r"\(own_networks.py:\d+: return -logits if logits.mean\(\) > 0.1 else logits\)\. What .* by"
            ),
        ),
        ("looping", "Looping can be exported for batches of 2 images alone, a model must take any number: let no loop"),
    ],
)
def test_a_network_that_cannot_become_a_model_is_found_before_the_first_step(
    small: Dataset, tmp_path: Path, name: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    network = find_network(f"own_networks:{name}").fitted_to("sample", (28, 28, 1))
    recipe = find_recipe(network.name, "fine-tune")
    with pytest.raises(ConversionFailed, match=message) as caught:
        train(network, small, recipe, tmp_path / "checkpoint", CPU, RecordedReport())
    assert (caught.value.__cause__ is not None) == (name == "branching")
    assert not (tmp_path / "checkpoint").exists()
    assert "def forward" not in capfd.readouterr().err, "torch prints the graph"


@pytest.mark.slow
def test_ones_own_network_is_trained_converted_and_verified(small: Dataset, tmp_path: Path) -> None:
    network = find_network("own_networks:everything").fitted_to("sample", (28, 28, 1))
    report = RecordedReport()
    recipe = find_recipe(network.name, "fine-tune")
    checkpoint = train(network, small, recipe, tmp_path / "checkpoint", CPU, report, changes={"epochs": 1})
    published = publication.publish(
        TrainedModel(network, checkpoint, small), tmp_path / "models", network.model_name, report
    )
    assert published.path == tmp_path / "models" / "own_networks-everything" / "1" / "model.onnx"
    assert published.info.training.network == "own_networks:everything"
    assert published.verification.disagreements == 0


def test_a_module_without_a_function() -> None:
    with pytest.raises(UnknownName, match=r"own_networks is a module; expected MODULE:FUNCTION.*: own_networks:Net"):
        find_network("own_networks")
