"""The command line: every sub-command on the sample, and one clear message with exit code 2 for bad input."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tests.export.recorded_report import tree

from covey_export import checkpoint as checkpoints
from covey_export.__main__ import main
from covey_export.datasets import Dataset
from covey_export.datasets.sample import Sample
from covey_export.networks import NETWORKS, find_network
from covey_export.training.augmentation import Augmentation
from covey_server.images.pixels import InputSpec


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVEY_DATA", raising=False)


def test_list_shows_networks_and_data_sets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    for name in (*NETWORKS, "44,426", "sample", "comes with Covey", "best, fine-tune, tutorial", "as NETWORK-RECIPE"):
        assert name in said
    networks = said.partition("Data sets")[0]
    (library,) = (line for line in networks.splitlines() if "torchvision:NAME" in line)
    assert find_network("torchvision:resnet18").default_dataset in library
    (own,) = (line for line in networks.splitlines() if "MODULE:FUNCTION" in line)
    assert find_network("torch.nn:Identity").default_dataset in own
    assert max(map(len, networks.splitlines())) < 250  # into a file, too: the recipes of all networks are in no row


def test_list_shows_the_recipes_of_one_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "lenet"]) == 0
    said = capsys.readouterr().out
    for part in (
        "tutorial",
        "best",
        "fine-tune",
        "best on fashion-mnist",
        "batch 256, adam lr 0.001, 10 epochs",
        "one-cycle",
    ):
        assert part in said


def test_list_shows_recipes_as_a_data_set_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers as those that a training says."""
    assert main(["list", "lenet"]) == 0
    said = capsys.readouterr().out
    assert "Made for 60,000 training images: of less than half as many, batches are smaller" in said
    assert main(["list", "lenet", "--dataset", "sample"]) == 0
    said = capsys.readouterr().out
    assert "Recipes of lenet on sample" in said
    assert "batch 32, adam lr 0.001, 25 epochs" in said
    assert "rotation 10 degrees" in said, "what suits digits"
    assert "fashion-mnist" not in said
    assert main(["train", "lenet", "--dataset", "sample", "--epochs", "1", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "recipe  tutorial: batch 32, adam lr 0.001, 1 epoch" in said
    assert "made for 60,000 images: of these 6,000 batches are smaller and epochs more" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "sample"], "covey export list NETWORK --dataset NAME"),
        (["lenet", "--dataset", "cifar10"], "lenet takes images of 28x28 grey, cifar10 has 32x32 RGB"),
    ],
)
def test_a_data_set_that_says_nothing_of_recipes(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_each_step_works_alone_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["mlp", "--dataset", "sample", "--checkpoints", "runs"]
    assert main(["train", *places, "--epochs", "1", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "Linear(in_features=784, out_features=256" in said
    assert "accuracy on the 1,000 test images" in said
    assert main(["convert", *places, "--models", "served", "--name", "digits"]) == 0
    assert main(["convert", *places, "--models", "served", "--name", "digits"]) == 0
    assert main(["verify", *places, "--models", "served", "--name", "digits", "--version", "1"]) == 0
    assert tree(tmp_path) == {
        *("runs", "runs/mlp-sample-tutorial", "runs/mlp-sample-tutorial/checkpoint.pt", "served", "served/digits"),
        *("served/digits/1", "served/digits/1/model.onnx", "served/digits/1/verification.json"),
        *("served/digits/2", "served/digits/2/model.onnx", "served/digits/2/verification.json"),
    }
    output = capsys.readouterr()
    assert "published served/digits/2/model.onnx" in output.out
    assert output.err == ""


def test_all_ends_with_a_summary_and_does_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []
    right = Sample.load

    def load(entry: Sample, spec: InputSpec, data_dir: Path | None) -> Dataset:
        loads.append(spec)
        whole = right(entry, spec, data_dir)
        return dataclasses.replace(whole, train_images=whole.train_images[:600], train_labels=whole.train_labels[:600])

    monkeypatch.setattr(Sample, "load", load)
    command = ["all", "mlp", "lenet", "--dataset", "sample", "--epochs", "1", "--no-report"]
    assert main([*command, "--summary-markdown", "docs/table.md"]) == 0
    said = capsys.readouterr().out
    assert "Summary" in said
    assert "not stated" in said
    assert said.splitlines()[-2:] == ["models/mlp/1/model.onnx", "models/lenet/1/model.onnx"]
    table = (tmp_path / "docs" / "table.md").read_text()
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:4]] == ["mlp", "lenet"]
    assert "seed 0" in table
    assert "onnxruntime" in table
    assert tree(tmp_path / "models" / "lenet") == {"1", "1/model.onnx", "1/verification.json"}

    assert main([*command, "--summary-markdown", "docs/again.md"]) == 0
    assert capsys.readouterr().out.count("version 1 was made from this very checkpoint: it is verified once more") == 2
    assert (tmp_path / "docs" / "again.md").read_text().splitlines()[2:4] == table.splitlines()[2:4]
    assert tree(tmp_path / "models" / "lenet") == {"1", "1/model.onnx", "1/verification.json"}
    assert len(loads) == 2, "each of the two commands reads the data set of both networks once"


def test_a_folder_of_images_becomes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for level, name in ((20, "dark"), (220, "light")):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (50, 40), level + number).save(tmp_path / "shades" / name / f"{number}.png")
    assert main(["all", "mlp", "--dataset", "folder:shades", "--name", "shades", "--epochs", "50"]) == 0
    assert (tmp_path / "checkpoints" / "mlp-folder-shades-tutorial" / "checkpoint.pt").is_file()
    assert (tmp_path / "models" / "shades" / "1" / "report.html").is_file()
    assert "accuracy on the 4 test images: 100.00%" in capsys.readouterr().out


def test_what_is_asked_for_is_in_the_recipe_and_stays(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "mlp", "--dataset", "sample", "--recipe", "best", "--device", "cpu", "--epochs", "1"]
    command += ["--batch-size", "500", "--learning-rate", "0.2", "--dropout", "0.1", "--weight-decay", "0.25"]
    command += ["--label-smoothing", "0.05", "--augment", "flip,shift=0.1", "--precision", "bfloat16", "--seed", "3"]
    assert main(command) == 0
    trained = checkpoints.load_finished(Path("checkpoints") / "mlp-sample-best")
    recipe = trained.recipe
    assert (recipe.name, recipe.epochs, recipe.batch_size, recipe.learning_rate) == ("best", 1, 500, 0.2)
    assert (recipe.dropout, recipe.weight_decay, recipe.label_smoothing) == (0.1, 0.25, 0.05)
    assert recipe.augmentation == Augmentation(flip=True, shift=0.1)
    assert (recipe.precision, trained.seed) == ("bfloat16", 3)
    capsys.readouterr()
    for wrong, message in (("--dropout=0.2", "dropout 0.1, not 0.2"), ("--seed=4", "seed 3, not 4")):
        assert main([*command, wrong]) == 2
        assert message in capsys.readouterr().err
    assert main(["train", "mlp", "--dataset", "sample", "--recipe", "best"]) == 0
    assert "already trained (1 epoch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "lenett"], "no network is named 'lenett'. Did you mean lenet?"),
        (["train", "lenet", "--dataset", "mnits"], "no data set is named 'mnits'. Did you mean mnist?"),
        (["train", "lenet", "--recipe", "quick", "--dataset", "sample"], "no recipe of lenet is named 'quick'"),
        (["train", "cifar-net", "--dataset", "sample"], "cifar-net takes images of 32x32 RGB, sample has 28x28 grey"),
        (["train", "lenet", "--data-dir", "nowhere"], "folder of data sets nowhere"),
        (["train", "lenet", "--dataset", "folder:nowhere"], "nowhere is no folder"),
        (["convert", "lenet", "--dataset", "sample"], "does not exist; train the network first"),
        (["convert", "lenet", "--dataset", "sample", "--name", "a/b"], "'a/b' cannot be a model's name"),
        (["verify", "lenet", "--dataset", "sample"], "does not exist; train the network first"),
        (["all", "lenet", "mlp", "--name", "both"], "--name, --checkpoint and --weights are for one network"),
        (["train", "lenet", "--dataset", "sample", "--dropout", "0.1"], "lenet has no dropout; omit --dropout"),
        (["train", "vgg", "--dataset", "demo"], "vgg takes images from 8x8 up, demo has 5x5 grey"),
        (["train", "conv-demo", "--dataset", "sample"], "conv-demo takes images of 5x5 grey, sample has 28x28 grey"),
    ],
)
def test_bad_input_is_explained_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("covey-export: ")
    assert message in said.err
    assert not tree(tmp_path)


def test_a_device_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    missing = "mps" if sys.platform != "darwin" else "cuda"
    assert main(["train", "mlp", "--dataset", "sample", "--device", missing]) == 2
    assert f"--device {missing}: PyTorch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["train", "mlp", "--batch-size", "0"], "expected a whole number from 1 up, got '0'"),
        (["train", "mlp", "--seed", "-1"], "expected a whole number from 0 up, got '-1'"),
        (["train", "mlp", "--batch-size", "1.5"], "expected a whole number from 0 up, got '1.5'"),
        (["train", "mlp", "--learning-rate", "0"], "expected a number above 0, got '0'"),
        (["train", "mlp", "--learning-rate", "inf"], "expected a number above 0, got 'inf'"),
        (["train", "mlp", "--weight-decay", "nan"], "expected a number from 0 up, got 'nan'"),
        (["train", "mlp", "--dropout", "1"], "expected a number from 0 to below 1, got '1'"),
        (["train", "mlp", "--label-smoothing", "x"], "expected a number from 0 to below 1, got 'x'"),
        (["train", "mlp", "--augment", "flop"], "flop"),
        (["train", "mlp", "--precision", "int4"], "float32"),
    ],
)
def test_wrong_flags_are_a_usage_error(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_folder_that_cannot_be_written_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1", "--checkpoint", "file/below"]) == 2
    assert "file/below" in capsys.readouterr().err


def test_the_export_package_loads_no_client_no_grpc_and_not_yet_torchvision() -> None:
    program = (
        "import sys; from covey_export import cli; assert cli.main(['list']) == 0; print(); print(*sorted(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = ended.stdout.splitlines()[-1].split()
    assert "torch" in loaded
    assert not {"covey", "grpc", "torchvision"} & set(loaded)
