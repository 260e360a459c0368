"""`covey new`: a copy that trains exactly as the network that it was made from."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from covey_export import new_network
from covey_export.__main__ import main
from covey_export.checkpoint import load
from covey_export.cli.parser import build
from covey_export.errors import ExportError
from covey_export.networks import NETWORKS, Output, Task, find_network
from covey_export.training.recipes import find_recipe


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVEY_DATA", raising=False)
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


@pytest.mark.parametrize("source", [name for name in NETWORKS if name != "conv-demo"])
def test_a_copy_computes_what_the_network_computes(source: str, tmp_path: Path) -> None:
    new_network.write("mine", source, tmp_path)
    network = NETWORKS[source]
    task = Task(network.image_shape, network.classes, 0.1)
    copy = find_network("mine:Mine").build(task)
    original = network.build(task)
    if network.output is Output.LOGITS:
        original.load_state_dict(copy.state_dict())
    else:  # without the softmax, which Covey puts behind a user's own network
        copy = nn.Sequential(copy, nn.Softmax(dim=1))
        original.load_state_dict({name.removeprefix("0."): value for name, value in copy.state_dict().items()})
    height, width, channels = network.image_shape
    images = torch.rand(2, channels, height, width)
    with torch.no_grad():
        assert torch.equal(copy.eval()(images), original.eval()(images))


def test_an_unchanged_copy_trains_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "mine", "--from", "lenet"]) == 0
    assert "mine.md says how" in capsys.readouterr().out
    few = ["--dataset", "sample", "--epochs", "1", "--batch-size", "500", "--device", "cpu"]
    assert main(["train", "lenet", *few, "--recipe", "tutorial", "--checkpoint", "one"]) == 0
    assert main(["train", "mine:Mine", *few, "--recipe", "lenet-tutorial", "--checkpoint", "two"]) == 0
    one, two = load(Path("one")), load(Path("two"))
    assert one.history == two.history
    assert all(torch.equal(value, two.model[name]) for name, value in one.model.items())


def commands(steps: Path) -> list[list[str]]:
    lines = steps.read_text(encoding="utf-8").splitlines()
    return [shlex.split(line.replace("covey export ", "covey "))[1:] for line in lines if line.startswith("covey ")]


@pytest.mark.parametrize("source", [name for name in NETWORKS if name != "conv-demo"])
def test_the_commands_that_it_names_are_valid(source: str, tmp_path: Path) -> None:
    """On images that the network can take; those that come with Covey, where it can."""
    _, steps = new_network.write("my_net", source, tmp_path)
    shown, tried, published = (build().parse_args(words) for words in commands(steps))
    assert tried.judge == "validation"
    assert tried.epochs == (None if source == "cifar-net" else 3), "the tutorial has 2"
    assert (tried.network, tried.vary) == (source, [f"network={source},my_net:MyNet"])
    assert find_recipe(source, published.recipe) is find_recipe(source), "it is published as it was tried"
    (share,) = re.findall("`covey (try .* --vary dropout=.*)`", steps.read_text(encoding="utf-8"))
    shares = build().parse_args(shlex.split(share))
    assert (shares.network, shares.dataset, shares.recipe) == ("my_net:MyNet", tried.dataset, published.recipe)
    datasets = {shown.dataset, tried.dataset, published.dataset}
    assert datasets == {"cifar10" if source == "cifar-net" else "sample"}
    if datasets == {"sample"}:
        assert NETWORKS[source].fitted_to("sample", (28, 28, 1))


def test_the_commands_run_where_there_is_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, steps = new_network.write("my_net", "lenet", tmp_path)
    few = {"try": ["--epochs", "1", "--seeds", "1"], "all": ["--epochs", "1", "--no-report"]}
    for words in commands(steps):
        assert main([*words, *few.get(words[0], [])]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.html")) == ["show.html", "trials.html"]
    assert (tmp_path / "models" / "my_net-MyNet" / "1" / "model.onnx").is_file()
    assert "All networks are trained by one recipe, lenet-tutorial" in capsys.readouterr().out


def test_a_copy_without_dropout_says_how_it_gets_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_network.write("mine", "lenet", tmp_path)
    command = ["try", "mine:Mine", "--dataset", "sample", "--vary", "dropout=0,0.5", "--epochs", "1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "mine:Mine has no parameter `dropout`" in said
    found = re.search("`(def __init__.*)`", said)
    assert found is not None
    text = (tmp_path / "mine.py").read_text()
    changed = text.replace("def __init__(self, classes: int) -> None:", f"{found[1]}:")
    changed = changed.replace("nn.Linear(84, classes)", "nn.Dropout(dropout), nn.Linear(84, classes)")
    (tmp_path / "mine.py").write_text(changed)
    del sys.modules["mine"]
    network = find_network("mine:Mine").fitted_to("sample", (28, 28, 1))
    dropped = [part.p for part in network.build(Task((28, 28, 1), 10, 0.3)).modules() if isinstance(part, nn.Dropout)]
    assert dropped == [0.3]


def test_without_images_a_network_of_a_fixed_size_can_be_shown(tmp_path: Path) -> None:
    _, steps = new_network.write("my_net", "cifar-net", tmp_path)
    assert "say `--image-size 32`" in " ".join(steps.read_text(encoding="utf-8").split())
    assert main(["show", "my_net:MyNet", "--image-size", "32"]) == 0


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("Mine", "lenet", "'Mine' is no name for a Python module"),
        ("my-net", "lenet", "is no name for a Python module"),
        ("class", "lenet", "is no name for a Python module"),
        ("_", "lenet", "which cannot be; choose another name"),
        ("_2net", "lenet", "which cannot be; choose another name"),
        ("none", "lenet", "would be named 'None', which cannot be"),
        ("inception", "googlenet", "would be named 'Inception', which cannot be"),
        ("torch", "lenet", "'torch' is the name of a module that is installed here"),
        ("mine", "lenett", "Did you mean lenet"),
        ("mine", "conv-demo", "conv-demo has nothing to learn"),
        ("there", "lenet", "there.md is there already"),
    ],
)
def test_wrong_input_is_explained_and_nothing_is_written(name: str, source: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("mine")
    with pytest.raises(ExportError, match=says):
        new_network.write(name, source, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["there.md"]
    assert (tmp_path / "there.md").read_text() == "mine"
