"""Weights from elsewhere, published with what belongs to them: their normalisation and the order of their classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from covey_export import weights, weights_files
from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.errors import InvalidDataset, InvalidWeights
from covey_export.networks import NETWORKS, Task
from covey_proto import metadata
from covey_server.inference.engine import Engine

MLP = NETWORKS["mlp"]
# The order in which the network outside knew the digits.
ORDER = ("seven", "zero", "three", "one", "nine", "two", "four", "eight", "six", "five")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where models and checkpoints go."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def outside(sample: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """A network trained by a plain loop on x / 255, its classes in another order: the file of its weights, a folder of
    images, and its accuracy on the test images by its own preprocessing."""
    folder = tmp_path_factory.mktemp("outside")
    torch.manual_seed(0)
    network = MLP.build(Task(MLP.image_shape, 10))
    place = torch.tensor([ORDER.index(name) for name in NAMES])
    images = torch.tensor(sample.train_images).permute(0, 3, 1, 2).float() / 255
    labels = place[torch.tensor(sample.train_labels)]
    optimizer = torch.optim.Adam(network.parameters(), 0.003)
    for _ in range(6):
        order = torch.randperm(len(images))
        for start in range(0, len(order), 64):
            batch = order[start : start + 64]
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(network(images[batch]), labels[batch]))
            optimizer.step()
    data = folder / "data"
    for part, part_images, part_labels in (
        ("train", sample.train_images[:100], sample.train_labels[:100]),
        ("test", sample.test_images[:200], sample.test_labels[:200]),
    ):
        for number, (image, label) in enumerate(zip(part_images, part_labels, strict=True)):
            (data / part / NAMES[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(data / part / NAMES[label] / f"{number}.png")
    network.eval()
    tested = torch.tensor(sample.test_images[:200]).permute(0, 3, 1, 2).float() / 255
    right = network(tested).argmax(1) == place[torch.tensor(sample.test_labels[:200])]
    torch.save(network.state_dict(), folder / "outside.pth")
    return folder / "outside.pth", data, float(right.float().mean())


AS_TRAINED = ("--pixels", "[0,1]", "--labels", ",".join(ORDER))


@pytest.fixture(scope="module")
def published_outside(outside: tuple[Path, Path, float], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the weights were published as they were trained. Not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert _publish(outside, *AS_TRAINED) == pytest.approx(outside[2], abs=1e-6)
    return folder


@pytest.fixture
def published_already(published_outside: Path, tmp_path: Path) -> None:
    """As if the test had published the weights as they were trained."""
    shutil.copytree(published_outside, tmp_path, dirs_exist_ok=True)


def _arguments(command: str, outside: tuple[Path, Path, float]) -> list[str]:
    """A command for the weights as they are."""
    file, data, _ = outside
    report = ["--no-report"] if command == "all" else []
    return [command, "mlp", "--dataset", f"folder:{data}", "--weights", str(file), "--epochs", "0", *report]


def _publish(outside: tuple[Path, Path, float], *options: str) -> float:
    """The accuracy that is published."""
    assert main([*_arguments("all", outside), "--restart", *options]) == 0
    found: float = json.loads((_newest() / "verification.json").read_text())["onnxruntime_accuracy"]
    return found


def _newest() -> Path:
    """The folder of the highest version: the same weights given again publish no second one."""
    return max(Path("models/mlp").iterdir(), key=lambda folder: int(folder.name))


def test_they_keep_their_accuracy_with_what_belongs_to_them(
    outside: tuple[Path, Path, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = outside[2]
    assert expected > 0.9
    assert _publish(outside, *AS_TRAINED) == pytest.approx(expected, abs=1e-6)
    said = capsys.readouterr().out
    assert "input   28x28, resized by stretch; grey, scaled to 0..1, mean 0, deviation 1" in said
    assert "labels  0 seven, 1 zero, 2 three" in said
    assert "assumed" not in said
    (tmp_path / "labels.json").write_text(json.dumps({str(place): name for place, name in enumerate(ORDER)}))
    options = ("--mean", "0", "--std", "1", "--labels", "labels.json")
    assert _publish(outside, *options) == pytest.approx(expected, abs=1e-6)
    assert main(["convert", "mlp", "--dataset", f"folder:{outside[1]}", "--recipe", "fine-tune"]) == 0, "kept there"
    engine = Engine(_newest() / "model.onnx")
    assert tuple(metadata.from_json(engine.metadata[metadata.KEY]).labels) == ORDER


@pytest.mark.usefixtures("published_already")
def test_without_the_options_the_command_says_what_it_assumes(
    outside: tuple[Path, Path, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _publish(outside) < 0.5
    said = capsys.readouterr().out
    assert "warning: the version of mlp before has 9" in said
    assert "note: outside.pth does not say how its pixels were normalised; assumed is" in said
    assert "say --mean and --std, or --pixels" in said
    assert "note: outside.pth does not say which class each output stands for; assumed is the order of the data" in said
    assert _publish(outside, *AS_TRAINED) > 0.9
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert "mlp version 3 differs from version 2: labels: 10 of 10 moved, first: class 0 'seven' was 'eight'" in warning


@pytest.mark.usefixtures("published_already")
def test_a_checkpoint_with_another_order_of_classes_is_named(
    outside: tuple[Path, Path, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*_arguments("train", outside), "--pixels", "[0,1]"]) == 2
    said = capsys.readouterr().err
    assert (
        f"the outputs of the checkpoint's network are {', '.join(ORDER)}, in this order; asked for is the order" in said
    )
    assert "give the --labels of the first time" in said


def test_another_file_of_the_same_name_is_not_taken_for_the_first(
    outside: tuple[Path, Path, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, data, accuracy = outside
    mine = tmp_path / "mine.pth"
    mine.write_bytes(file.read_bytes())
    arguments = [*_arguments("all", (mine, data, accuracy)), *AS_TRAINED]
    assert main(arguments) == 0
    assert main(arguments) == 0, "the same file is"
    torch.manual_seed(5)
    torch.save(MLP.build(Task(MLP.image_shape, 10)).state_dict(), mine)
    assert main(arguments) == 2
    assert "began from other weights than those that mine.pth has now; give the same file" in capsys.readouterr().err
    assert main([*arguments, "--restart"]) == 0
    said = capsys.readouterr().out
    assert "is no better than guessing among 10 classes" in said
    assert "warning: the version of mlp before has 9" in said, "though that one was verified twice"


@pytest.mark.usefixtures("published_already")
def test_the_accuracy_that_is_asked_for_is_that_of_what_is_published_already_too(
    outside: tuple[Path, Path, float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    again = [*_arguments("all", outside), *AS_TRAINED, "--min-accuracy"]
    assert main([*again, "0.9"]) == 0
    assert main([*again, "0.999"]) == 2
    assert "--min-accuracy asks for 99.90%; it was published before, as version 1" in capsys.readouterr().err


def test_a_model_below_the_accuracy_that_is_asked_for_is_not_published(
    outside: tuple[Path, Path, float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*_arguments("all", outside), "--min-accuracy", "0.9"]) == 2
    assert "--min-accuracy asks for 90.00%; it is not published" in capsys.readouterr().err
    assert not list(tmp_path.glob("models/mlp/[0-9]*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mean", "0.5"], "--mean and --std go together"),
        (["--mean", "0.5", "--std", "0.5", "--pixels", "[0,1]"], "give it, or --mean and --std, not both"),
        (["--mean", "0.1,0.2,0.3", "--std", "1,1,1"], "have 3 numbers; expected 1 or 1, one for each channel"),
        (["--mean", "127.5", "--std", "127.5"], "--mean 127.5: expected numbers from 0 to 1, as pixels are scaled"),
        (["--labels", ",".join([*ORDER[:-1], "ten"])], "has classes that are not among the 10 labels given: five"),
        (["--labels", "only"], "expected a file of labels, or two or more with commas"),
        (["--labels", ",".join([*ORDER, "ten"])], "names 11 classes, the last layer in outside.pth gives 10; expected"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    outside: tuple[Path, Path, float],
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*_arguments("train", outside), *options]) == 2
    assert message in capsys.readouterr().err


def test_epochs_0_without_weights_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "lenet", "--dataset", "sample", "--epochs", "0"]) == 2
    assert "it goes with --weights" in capsys.readouterr().err


def test_a_data_set_in_another_order_has_the_same_images(small: Dataset) -> None:
    order = tuple(reversed(small.labels))
    turned = small.in_order((*order, "none"))
    assert turned.labels == (*order, "none")
    named = np.array(turned.labels)[turned.test_labels]
    assert named.tolist() == np.array(small.labels)[small.test_labels].tolist()
    assert small.in_order(small.labels) is small
    assert small.in_order(order).test_digest == small.test_digest
    with pytest.raises(InvalidDataset, match="the label '0' is given twice"):
        small.in_order((*small.labels, "0"))


@pytest.mark.parametrize("prefix", ["module.", "model.", "net.", "_orig_mod.", "model.module.", "backbone."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_with_a_prefix_are_found(tmp_path: Path, prefix: str, suffix: str) -> None:
    state = MLP.build(Task(MLP.image_shape, 10)).state_dict()
    named = {prefix + name: tensor for name, tensor in state.items()}
    file = tmp_path / f"weights{suffix}"
    safetensors.torch.save_file(named, file) if suffix == ".safetensors" else torch.save(named, file)
    assert weights.load(file).tensors.keys() == state.keys()


def test_an_average_with_its_counter_is_read(tmp_path: Path) -> None:
    network = MLP.build(Task(MLP.image_shape, 10))
    averaged = torch.optim.swa_utils.AveragedModel(network)
    torch.save(averaged.state_dict(), tmp_path / "ema.pth")
    assert weights.load(tmp_path / "ema.pth").tensors.keys() == network.state_dict().keys()
    torch.save({"state_dict": {}, "state_dict_ema": network.state_dict()}, tmp_path / "timm.pth")
    assert weights.load(tmp_path / "timm.pth").tensors.keys() == network.state_dict().keys()


def test_the_names_of_both_sides_are_shown_where_none_fits(tmp_path: Path) -> None:
    torch.save({"stem.weight": torch.zeros(3), "stem.bias": torch.zeros(3)}, tmp_path / "other.pth")
    network = MLP.build(Task(MLP.image_shape, 10))
    names = list(network.state_dict())
    with pytest.raises(InvalidWeights) as caught:
        weights.load(tmp_path / "other.pth").load_into(network, 10)
    assert f"the file has stem.weight, stem.bias, the network has {', '.join(names[:3])} and" in str(caught.value)


def _module(file: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), file)


def _script(file: Path) -> None:
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(file)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        (
            "a.pth",
            lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\noid"),
            "pointer of Git LFS",
        ),
        ("a.onnx", lambda file: file.write_bytes(b"\x08\x07"), "is an ONNX file, which holds a whole network"),
        ("a.pt", _script, "is TorchScript, a whole network with its code"),
        ("a.pt", _module, r"\(torch.nn.modules.container.Sequential, torch.nn.modules.linear.Linear\)"),
        ("a.safetensors", lambda file: file.write_bytes(b"\x10" + bytes(7) + b'{"a":'), "a damaged safetensors file"),
        ("a.pth", lambda file: file.write_text("<!DOCTYPE html>"), "is a web page"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_other_files_are_named_for_what_they_are(tmp_path: Path, name: str, write: object, message: str) -> None:
    assert callable(write)
    write(tmp_path / name)
    with pytest.raises(InvalidWeights, match=message):
        weights_files.read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mynet.py", "mynet.py is a file; expected MODULE:FUNCTION, as in mynet:Net"),
        ("nets/mynet.py:build", "expected MODULE:FUNCTION, as in nets.mynet:build"),
        ("mobilenet.onnx", "mobilenet.onnx is a file of a model or of weights; expected the network itself"),
    ],
)
def test_a_file_in_place_of_a_network_gets_the_spelling_that_works(
    capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert main(["train", name]) == 2
    assert message in capsys.readouterr().err


def test_a_data_set_that_was_not_named_is_named_where_it_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["train", "lenet", "--data-dir", str(tmp_path / "none")]) == 2
    assert (
        "no --dataset was given, so that mnist was taken, the usual one of lenet; name yours" in capsys.readouterr().err
    )


def test_a_training_that_goes_on_does_not_pass_over_another_normalisation(capsys: pytest.CaptureFixture[str]) -> None:
    begin = ["train", "mlp", "--dataset", "sample", "--epochs", "1"]
    assert main([*begin, "--pixels", "[0,1]"]) == 0
    assert main([*begin, "--pixels", "[0,1]"]) == 0
    assert "already trained" in capsys.readouterr().out
    for options in (["--pixels", "[-1,1]"], ["--mean", "0.5", "--std", "1"]):
        assert main([*begin, *options]) == 2
        assert "was begun with mean (0.0,), not (0.5,); name that one to go on" in capsys.readouterr().err


def test_fresh_weights_may_have_another_normalisation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1", "--mean", "0.25", "--std", "0.5"]) == 0
    assert "grey, scaled to 0..1, mean 0.25, deviation 0.5" in capsys.readouterr().out
    assert main(["train", "mlp", "--dataset", "sample", "--mean", "0.1,0.2,0.3", "--std", "1,1,1", "--restart"]) == 2
    assert "have 3 numbers; expected 1 or 1" in capsys.readouterr().err
