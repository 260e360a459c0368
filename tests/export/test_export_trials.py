"""`covey try`: which variants there are, what they are judged by, and what may be concluded."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from covey_export.__main__ import main
from covey_export.checkpoint import Checkpoint, Epoch, load
from covey_export.cli.parser import build
from covey_export.datasets import Dataset
from covey_export.errors import ExportError, InvalidDataset
from covey_export.evaluation import predict
from covey_export.image_classifier import ImageClassifier
from covey_export.networks import find_network
from covey_export.option_values import TrainingPrecision
from covey_export.reports.diagnosis import diagnose
from covey_export.training import trainer
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import find_recipe
from covey_export.trials import how_trained, page, variants
from covey_export.trials.plan import Plan
from covey_export.trials.trial import Trial, describe_accuracy
from covey_export.trials.variants import Variant

FEW = ["--dataset", "sample", "--epochs", "1", "--batch-size", "500", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COVEY_DATA", raising=False)


class TestVariants:
    def test_every_combination_is_one(self) -> None:
        found = variants.combine(["dropout=0,0.5", "optimizer=sgd,adam", "weight-decay=0,0.01"])
        assert len(found) == 8
        assert found[0].title == "dropout 0, optimizer sgd, weight decay 0"
        assert len({variant.slug for variant in found}) == 8
        assert found[-1].arguments("mlp") == [
            *("mlp", "--dropout", "0.5", "--optimizer", "adam", "--weight-decay", "0.01")
        ]

    def test_without_any_the_recipe_is_tried_as_it_is(self) -> None:
        (only,) = variants.combine([])
        assert (only.title, only.arguments("lenet")) == ("as the recipe says", ["lenet"])

    def test_networks_and_lists_can_be_varied(self) -> None:
        found = variants.combine(["network=lenet,mine:Net", "augment=none;flip,shift=0.1"])
        assert [variant.arguments("mlp") for variant in found][1] == ["lenet", "--augment", "flip,shift=0.1"]
        assert found[2].arguments("mlp")[0] == "mine:Net"

    @pytest.mark.parametrize(
        ("vary", "says"),
        [
            (["dropout"], "expected NAME=VALUE,VALUE"),
            (["dropout="], "expected NAME=VALUE,VALUE"),
            (["dropuot=0,1"], "Did you mean dropout"),
            (["dropout=0,0"], "expected different values"),
            (["dropout=0,,1"], "expected different values, none of them empty"),
            (["dropout=0", "dropout=1"], "--vary dropout is given twice"),
        ],
    )
    def test_wrong_ones_are_explained(self, vary: list[str], says: str) -> None:
        with pytest.raises(ExportError, match=says):
            variants.combine(vary)


def test_validation_images_are_kept_from_training_and_always_the_same(sample: Dataset) -> None:
    kept = sample.with_validation()
    assert len(kept.test_images) == pytest.approx(len(sample.train_images) / 10, abs=5)
    assert np.bincount(kept.test_labels).min() > 0
    assert (kept.test_images == sample.with_validation().test_images).all()
    both = np.concatenate([kept.train_images, kept.test_images])
    assert sorted(map(bytes, both)) == sorted(map(bytes, sample.train_images)), "none is lost or twice there"
    assert kept.held_out == "validation"


def test_trains_compares_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["try", "mlp", *FEW, "--vary", "optimizer=sgd,adam", "--seeds", "2"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "1 of 2 variants: optimizer sgd" in said
    assert said.count("validation accuracy") == 4
    assert "test accuracy" not in said
    told = said.partition("How they were trained")[2]
    assert "sgd lr 0.1" in told
    assert "adam lr 0.001" in told, "which another optimizer brings along"
    assert "The first is" in said
    content = (tmp_path / "trials.html").read_text(encoding="utf-8")
    for part in ("optimizer adam", "kernels and matrices", "were not looked at", "length of the weights"):
        assert part in content
    assert main([*command, "--vary", "dropout=0"]) == 0
    assert main(command) == 0
    assert capsys.readouterr().out.count("already trained") == 4


def test_five_images_of_a_class_are_enough_to_keep_one(sample: Dataset) -> None:
    places = np.concatenate([np.flatnonzero(sample.train_labels == label)[:5] for label in range(10)])
    few = replace(sample, train_images=sample.train_images[places], train_labels=sample.train_labels[places])
    assert np.bincount(few.with_validation().test_labels).tolist() == [1] * 10
    fewer = replace(few, train_images=few.train_images[1:], train_labels=few.train_labels[1:])
    assert "no validation images of 0: too few training images" in fewer.with_validation().notes[-1]
    with pytest.raises(InvalidDataset, match="expected 5 or more of a class"):
        replace(few, train_images=few.train_images[:4], train_labels=few.train_labels[:4]).with_validation()


def test_a_training_by_other_options_is_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["try", "mlp", "--dataset", "sample", "--vary", "momentum=0", "--device", "cpu", "--batch-size", "1000"]
    assert main([*command, "--epochs", "1"]) == 0
    assert main([*command, "--epochs", "2", "--seeds", "2"]) == 0
    assert "already trained" not in capsys.readouterr().out
    assert main([*command, "--epochs", "2"]) == 0
    said = capsys.readouterr().out
    assert said.count("already trained") == 1
    assert "--restart" not in said, "which it does not have"


def test_a_changed_network_is_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights have the same shapes; only what it computes differs."""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["new", "changing", "--from", "lenet"]) == 0
    command = ["try", "changing:Changing", *FEW, "--recipe", "lenet-tutorial"]
    assert main(command) == 0
    path = tmp_path / "changing.py"
    path.write_text(path.read_text().replace("logits: torch.Tensor", "# the same layers\n        logits: torch.Tensor"))
    capsys.readouterr()
    assert main(command) == 0
    assert "already trained" not in capsys.readouterr().out


def test_networks_are_compared_on_one_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", "lenet", "--vary", "network=lenet,cifar-net"]) == 2
    assert "cifar-net takes images of 32x32 RGB, mnist has 28x28 grey" in capsys.readouterr().err


class TestRecipes:
    """By which recipe each network is trained where networks are varied."""

    def recipes(self, tmp_path: Path, *arguments: str) -> dict[str, Recipe]:
        """By network, of the checkpoints that `try` has written."""
        assert main(["try", *arguments, "--device", "cpu"]) == 0
        found = [load(folder) for folder in (tmp_path / "trials" / "sample-validation").iterdir()]
        return {checkpoint.network: checkpoint.recipe for checkpoint in found}

    def test_all_networks_are_trained_by_one(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """By their own, `mlp` would be trained by SGD with a learning rate of 0.1, and `lenet` by Adam with 0.001."""
        recipes = self.recipes(tmp_path, "mlp", *FEW, "--vary", "network=lenet,mlp")
        assert recipes["lenet"] == replace(recipes["mlp"], name="mlp-tutorial")
        said = capsys.readouterr().out
        sentence = "All networks are trained by one recipe, mlp-tutorial: a difference between them is that of the"
        assert said.count(sentence) == 2, "before the first training, and below the table"
        assert "--recipe own" in said
        written = " ".join((tmp_path / "trials.html").read_text(encoding="utf-8").split())
        assert html.escape(sentence) in written
        assert "batch 500, sgd lr 0.1, 1 epoch" in written
        assert "batch 500, sgd lr 0.1, 1 epoch" in said.partition("How they were trained")[2]

    def test_an_unchanged_copy_is_as_good_as_its_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        assert main(["new", "copied", "--from", "lenet"]) == 0
        assert main(["try", "lenet", *FEW, "--vary", "network=lenet,copied:Copied"]) == 0
        one, two = (load(folder).history for folder in (tmp_path / "trials" / "sample-validation").iterdir())
        assert one == two
        assert "The first and the second are equally accurate" in capsys.readouterr().out

    @pytest.mark.parametrize(("name", "batch_size"), [("best", 16), ("cifar-net-best", 16), ("lenet-tutorial", 32)])
    def test_a_named_one_is_that_of_the_first_word_or_of_the_network_that_it_names(
        self, tmp_path: Path, name: str, batch_size: int
    ) -> None:
        few = ["--dataset", "sample", "--epochs", "1", "--vary", "network=mlp,lenet"]
        few += ["--vary", "precision=float32"]  # else each network gets the faster one, as measured
        recipes = self.recipes(tmp_path, "mlp", *few, "--recipe", name)
        assert {recipe.batch_size for recipe in recipes.values()} == {batch_size}
        assert len({replace(recipe, name="") for recipe in recipes.values()}) == 1

    @pytest.mark.parametrize(("name", "suffix"), [("own", "tutorial"), ("own-best", "best")])
    def test_each_network_s_own_where_that_is_asked_for(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, suffix: str
    ) -> None:
        few = ["--dataset", "sample", "--epochs", "1", "--batch-size", "500", "--vary", "network=mlp,lenet"]
        recipes = self.recipes(tmp_path, "mlp", *few, "--recipe", name)
        for network, recipe in recipes.items():
            assert recipe.learning_rate == find_recipe(network, suffix).learning_rate
        said = capsys.readouterr().out
        sentence = f"With --recipe {name} each network is trained by its own recipe: a difference between them is"
        assert said.count(sentence) == 2
        told = said.partition("How they were trained")[2]
        for network in recipes:
            assert f"{network}-{suffix}" in told
        assert html.escape(sentence) in (tmp_path / "trials.html").read_text(encoding="utf-8")

    def test_recipes_can_be_varied_too(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        vary = ["--vary", "network=mlp,lenet", "--vary", "recipe=tutorial,own"]
        assert main(["try", "mlp", *FEW, *vary]) == 0
        said = capsys.readouterr().out
        assert "By mlp-tutorial all networks are trained alike" in said
        assert "All networks are trained by one recipe" not in said
        assert "With --recipe own each network is trained by its own recipe" in said
        assert len(list((tmp_path / "trials" / "sample-validation").iterdir())) == 4

    def test_of_one_network_nothing_is_said_of_others(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["try", "mlp", *FEW, "--vary", "dropout=0,0.5"]) == 0
        said = capsys.readouterr().out
        assert "How they were trained" not in said, "but as the variants say"
        assert "All networks" not in said
        assert "--recipe own" not in said

    def test_a_wrong_name_is_explained(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["try", "mlp", *FEW, "--vary", "network=mlp,lenet", "--recipe", "tutor"]) == 2
        said = capsys.readouterr().err
        assert "no recipe of mlp is named 'tutor'. Did you mean tutorial?" in said
        assert "or own for each network's own" in said

    def test_what_a_network_cannot_do_is_left_out_and_told(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`mlp` takes images of one size only; the recipe of `resnet9` begins with smaller ones."""
        few = [*FEW, "--vary", "network=mlp,nin", "--recipe", "resnet9-best", "--vary", "precision=float32"]
        recipes = self.recipes(tmp_path, "mlp", *few)
        assert {name: recipe.first_size for name, recipe in recipes.items()} == {"mlp": 1.0, "nin": 0.75}
        said = capsys.readouterr().out
        assert "note: trained with images of one size" in said
        assert "they differ in more than the network: first size" in said
        assert "--vary precision" not in said

    def test_a_precision_that_speed_has_chosen_is_told(self, trained: Checkpoint) -> None:
        recipe_network, tried = find_network("mlp"), []
        chosen: dict[str, TrainingPrecision] = {"mlp": "float32", "lenet": "bfloat16"}
        for name, precision in chosen.items():
            options = build().parse_args(["train", name, "--dataset", "sample"])
            variant = Variant((("network", name),))
            checkpoint = replace(trained, recipe=replace(trained.recipe, name=name, precision=precision))
            tried.append((Plan.of(variant, options, recipe_network), Trial(variant, (checkpoint,), nn.Linear(2, 2))))
        more, hint = how_trained.difference_notes(tried)
        assert "differ in more than the network: precision." in more
        assert "--vary precision=float32" in hint
        assert how_trained.difference_notes(tried[:1]) == []


def test_judged_by_the_test_images_each_training_looks_at_them_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample: Dataset
) -> None:
    looked: list[int] = []

    def counted(model: ImageClassifier, images: torch.Tensor) -> NDArray[np.float32]:
        looked.append(len(images))
        return predict(model, images)

    monkeypatch.setattr(trainer, "predict", counted)
    assert main(["try", "mlp", *FEW, "--epochs", "3", "--judge", "test"]) == 0
    assert looked.count(len(sample.test_images)) == 1
    (folder,) = (tmp_path / "trials" / "sample-test").iterdir()
    history = load(folder).history
    assert [epoch.test_accuracy is None for epoch in history] == [True, True, False]
    assert all(epoch.clean_accuracy is not None and epoch.norm is not None for epoch in history)
    assert "looked at once" in (tmp_path / "trials.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mlp", "--vary", "optimizer=sgd,adma"], "the variant 'optimizer adma' is no training"),
        (["lenet", "--vary", "dropout=0,0.5"], "no dropout; omit --dropout, or put some into a copy: covey new mynet"),
        (["mlp", *FEW, "--vary", "epochs=1,2"], "--epochs is both given and varied"),
        (["conv-demo"], "conv-demo has nothing to learn"),
        (["mlp", "--vary", "dropout=0,0.1,0.2,0.3", "--seeds", "50"], "are 200 trainings; expected 100 at most"),
        (["mlp", "--dataset", "cifar10"], "mlp takes images of 28x28 grey"),
        (["mlp", "--vary", "network=vgg", "--recipe", "own-tutorial"], "no recipe of vgg is named 'tutorial'"),
    ],
)
def test_wrong_input_is_explained_before_anything_is_trained(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def _trial(title: str, checkpoint: Checkpoint, *accuracies: float) -> Trial:
    epoch = Epoch(0.5, 0.9, 0.0, 0.5, clean_accuracy=0.95, norm=3.0)
    checkpoints = tuple(replace(checkpoint, history=(replace(epoch, test_accuracy=each),)) for each in accuracies)
    return Trial(Variant((("dropout", title),)), checkpoints, nn.Linear(2, 2))


def test_what_may_be_concluded(trained: Checkpoint) -> None:
    alone, other = _trial("0", trained, 0.91), _trial("1", trained, 0.90)
    assert "Another seed may turn them round" in page.remarks([alone, other])[0]
    close = [_trial("0", trained, 0.92, 0.90, 0.91), _trial("1", trained, 0.91, 0.90, 0.90)]
    assert "which may be chance: its 95 % interval is -" in page.remarks(close)[0]
    far = [_trial("0", trained, 0.952, 0.951, 0.950), _trial("1", trained, 0.90, 0.901, 0.902)]
    assert page.remarks(far)[0].startswith("The first is 5.00 points ahead of the second, more than chance gives")
    scattered = [_trial("0", trained, 0.9, 0.1), _trial("1", trained, 0.1, 0.2)]
    assert "its 95 % interval is -100.00 to +100.00 points" in page.remarks(scattered)[0], "no accuracy allows more"
    assert describe_accuracy(far[0]) == "95.10 \u00b1 0.10 %"
    assert far[0].gap == pytest.approx(0.95 - 0.951)
    assert page.remarks([alone]) == []


@pytest.mark.parametrize("accuracies", [(0.9,), (0.92, 0.90)])
def test_equal_variants_have_no_leader(accuracies: tuple[float, ...], trained: Checkpoint) -> None:
    alike = [_trial(title, trained, *accuracies) for title in ("0", "1")]
    assert page.remarks(alike) == ["The first and the second are equally accurate; neither leads."]


class TestDiagnosis:
    """Sentences about curves: only where the numbers say so."""

    def history(self, *epochs: tuple[float, float, float, float]) -> list[Epoch]:
        return [
            Epoch(loss, train, test, test_loss=test_loss, clean_accuracy=train)
            for loss, train, test, test_loss in epochs
        ]

    def test_a_network_that_knows_its_images_by_heart(self) -> None:
        said = diagnose(self.history((1, 0.7, 0.7, 0.9), (0.3, 0.93, 0.8, 0.6), (0.05, 1.0, 0.81, 0.9)), 10)
        assert len(said) == 1
        assert "It overfits: 100.0% on its training images, 81.0% on unseen ones" in said[0]
        assert "risen from 0.600 (epoch 2) to 0.900" in said[0]

    def test_a_rate_that_is_too_high(self) -> None:
        said = diagnose(self.history((1, 0.7, 0.7, 1), (2, 0.4, 0.4, 2), (0.9, 0.95, 0.94, 0.9)), 10)
        assert "in epoch 2 the training loss rose from 1.000 to 2.000" in said[0]

    def test_a_network_that_learned_nothing(self) -> None:
        said = diagnose(self.history(*[(2.303, 0.1, 0.1, 2.303)] * 3), 10)
        assert said[0].startswith("It has learned nothing: the loss ends at 2.303, and ln(10) = 2.303")

    def test_what_looks_like_it_and_is_not(self) -> None:
        tiny = self.history((0.5, 0.9, 0.9, 0.5), (0.001, 1, 0.99, 0.1), (0.0014, 1, 0.99, 0.1))
        smoothed = self.history(*[(2.27, 0.95, 0.94, 0.9)] * 3)
        assert diagnose(tiny, 10) == diagnose(smoothed, 10) == []

    def test_one_that_is_not_done(self) -> None:
        said = diagnose(self.history((2, 0.3, 0.3, 2), (1.6, 0.4, 0.4, 1.6), (1.3, 0.5, 0.5, 1.3)), 10)
        assert "It is not done: 50.0% on its own training images, and the last epoch still took 19%" in said[0]

    def test_of_good_curves_and_of_few_epochs_nothing_is_said(self) -> None:
        good = self.history((0.5, 0.85, 0.86, 0.5), (0.3, 0.93, 0.92, 0.3), (0.2, 0.95, 0.94, 0.25))
        assert diagnose(good, 10) == []
        assert diagnose(self.history((2.3, 0.1, 0.1, 2.3)), 10) == []
