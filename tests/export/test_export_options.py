"""The options of the command line: remembered from one step to the next, and refused where they make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covey_export import checkpoint as checkpoints
from covey_export.__main__ import main
from covey_proto.resize import Resize
from covey_server.inference import model_file
from covey_server.inference.engine import Engine
from covey_server.inference.model_file import Description


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVEY_DATA", raising=False)


class TestImagesOfFolders:
    """What is said of a folder's images, remembered from training to the steps after it."""

    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        noise = np.random.default_rng(0)
        for name in ("cat", "dog"):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for number in range(10):
                pixels = noise.integers(0, 256, (40, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
        return tmp_path / "photos"

    def run(self, *arguments: str, photos: Path) -> int:
        places = ["--dataset", f"folder:{photos}", "--checkpoints", str(photos.parent / "checkpoints")]
        return main([*arguments, *places])

    def model(self, folder: Path, name: str) -> Description:
        return model_file.describe(Engine(folder / name / "1" / "model.onnx"))

    def test_size_crop_background_and_recipe_need_not_be_said_again(
        self, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images = ["--image-size", "16", "--resize", "center_crop", "--crop", "0.9", "--background", "Black"]
        options = ["--epochs", "1", "--recipe", "fine-tune", "--precision", "float32"]
        assert self.run("train", "nin", *images, *options, photos=photos) == 0
        for command in ("convert", "verify"):
            assert self.run(command, "nin", photos=photos) == 0
        assert self.run("train", "nin", "--recipe", "fine-tune", "--grey", photos=photos) == 2
        images_were = "images of 16x16 RGB by center_crop (crop 0.9, on #000000), not 16x16"
        assert f"{images_were} grey by center_crop (crop 0.9, on #000000)" in capsys.readouterr().err
        assert self.run("train", "nin", "--recipe", "fine-tune", "--background", "white", photos=photos) == 2
        assert f"{images_were} RGB by center_crop (crop 0.9)" in capsys.readouterr().err
        model = self.model(tmp_path / "models", "nin")
        assert (model.input.shape, model.input.resize) == ((16, 16, 3), Resize.CENTER_CROP)
        assert model.input.crop == pytest.approx(0.9)
        assert model.info.input.background == "#000000"

    def test_grey_is_said(self, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.run("train", "cifar-net", "--grey", photos=photos) == 2
        assert "cifar-net takes images of 32x32 RGB, --grey has 32x32 grey" in capsys.readouterr().err
        options = ["--epochs", "1", "--precision", "float32", "--no-report", "--grey"]
        assert self.run("all", "vgg", *options, "--models", str(tmp_path / "models"), photos=photos) == 0
        assert self.model(tmp_path / "models", "vgg").input.shape == (28, 28, 1)

    def test_two_recipes_are_told_apart(self, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folders = [tmp_path / "checkpoints" / f"lenet-folder-photos-{recipe}" for recipe in ("best", "fine-tune")]
        for folder in folders:
            folder.mkdir(parents=True)
        assert self.run("convert", "lenet", photos=photos) == 2
        assert "does not exist; train the network first" in capsys.readouterr().err, "a folder alone is no training"
        for folder in folders:
            (folder / checkpoints.FILE).touch()
        assert self.run("convert", "lenet", photos=photos) == 2
        assert "trained on folder:photos with the recipes best, fine-tune; say which" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "vgg", "--dataset", "sample", "--image-size", "64"],
            "sample has images of 28x28 grey; --image-size",
        ),
        (["train", "lenet", "--dataset", "sample", "--freeze"], "--freeze trains the last layer alone"),
        (["train", "lenet", "--dataset", "sample", "--crop", "0.5"], "--crop goes with --resize center_crop"),
        (["train", "lenet", "--dataset", "sample", "--dropout", "0.1"], "lenet has no dropout"),
        (["train", "lenet", "--dataset", "sample", "--weights", "no.pth"], "there are no weights in no.pth"),
        (["all", "lenet", "mlp", "--weights", "a.pth"], "--weights are for one network"),
        (["compare", "lenet", "mlp"], "lenet"),
        (["compare", "lenet"], "expected 2 to 10. In models there are: none; --models DIR names another"),
        (["compare", "lenet", "mlp"], "or name the folder that models were published in: --models DIR"),
    ],
)
def test_options_that_do_not_go_together(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--augment", "none,flip", "none stands alone"),
        ("--augment", "flop", "Did you mean flip"),
        ("--augment", "shift=7", "shift: expected a number from 0 to 0.5, got '7'"),
        ("--crop", "1e-50", "expected a number from 0.01 to 1"),
        ("--background", "blue", "expected a colour such as #ffffff, got 'blue', white or black"),
        ("--seed", "9" * 26, "which is too large"),
        ("--learning-rate", "nan", "expected a number above 0"),
        ("--dropout", "1", "expected a number from 0 to below 1"),
    ],
)
def test_values_out_of_range(option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "vgg", option, value])
    assert message in capsys.readouterr().err


def test_weights_and_freeze_go_on_from_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1"]) == 0
    trained = Path("checkpoints/mlp-sample-tutorial/checkpoint.pt").read_bytes()
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1", "--freeze", "--restart"]) == 2
    assert "on top of given layers: it goes with --weights" in capsys.readouterr().err
    assert Path("checkpoints/mlp-sample-tutorial/checkpoint.pt").read_bytes() == trained
    weights = ["--weights", "checkpoints/mlp-sample-tutorial", "--freeze"]
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1", *weights]) == 0
    said = capsys.readouterr().out
    assert "begins from mlp trained on sample" in said
    assert "only the last layer" in said
    tuned = checkpoints.load_finished(Path("checkpoints") / "mlp-sample-fine-tune")
    assert (tuned.started_from, tuned.recipe.freeze) == ("mlp trained on sample", True)
