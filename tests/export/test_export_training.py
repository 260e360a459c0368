"""Training learns, does what its recipe says and no more, and says why where it cannot."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport
from tests.export.trainings import EVERYTHING, MLP, RECIPE, InterruptingReport, assert_same, train_mlp

from covey_export import checkpoint as checkpoints
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, TrainingFailed, TrainingInterrupted
from covey_export.evaluation import accuracy, mean_loss, predict
from covey_export.networks import NETWORKS
from covey_export.trained_model import TrainedModel
from covey_export.training import mixed_precision
from covey_export.training.augmentation import NONE
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_export.training.trainer import Trainer
from covey_export.weights import Weights

NIN = NETWORKS["nin"]  # it has batch normalisation


@pytest.fixture(scope="module")
def few(small: Dataset) -> Dataset:
    """96 images, for networks of many convolutions."""
    return dataclasses.replace(small, train_images=small.train_images[:96], train_labels=small.train_labels[:96])


def test_the_sample_is_learned(sample: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    trained = train(MLP, sample, find_recipe("mlp"), tmp_path, CPU, report, changes={"epochs": 2})
    assert (trained.history[-1].test_accuracy or 0) > 0.85
    assert trained.history[-1].train_accuracy > trained.history[0].train_accuracy > 0.5
    assert "203,530 parameters" in report.text
    assert "device  cpu" in report.text
    assert f"train accuracy {trained.history[0].train_accuracy:.2%}" in report.text


def test_a_finished_training_is_left_alone_unless_restarted(
    small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    first = train_mlp(small, tmp_path, report, epochs=1)
    written = (tmp_path / checkpoints.FILE).stat().st_mtime_ns
    assert_same(train_mlp(small, tmp_path, report, epochs=1), first)
    assert "already trained (1 epoch" in report.text
    assert (tmp_path / checkpoints.FILE).stat().st_mtime_ns == written
    other = train_mlp(small, tmp_path, report, epochs=1, seed=1, restart=True)
    assert not torch.equal(other.model["classifier.1.weight"], first.model["classifier.1.weight"])


def test_a_runaway_loss_ends_the_training_with_its_step(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    with pytest.raises(
        TrainingFailed, match=r"loss is (nan|inf) in epoch 1, step \d+.*smaller.*--learning-rate \(it is 1e\+30\)"
    ):
        train_mlp(small, tmp_path, report, learning_rate=1e30)
    assert not (tmp_path / checkpoints.FILE).exists()


def test_a_single_image_left_over_is_no_batch(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    """Batch normalisation cannot do with one; with two it can."""
    for count, steps in ((33, 2), (34, 3)):
        some = dataclasses.replace(
            small, train_images=small.train_images[:count], train_labels=small.train_labels[:count]
        )
        trained = train(NIN, some, RECIPE, tmp_path / str(count), CPU, report, changes={"epochs": 1})
        assert trained.model["features.0.1.num_batches_tracked"] == steps
        assert 0 <= trained.history[0].train_accuracy <= 1


def test_an_epochs_figures_are_those_of_its_images_where_the_last_batch_is_short(
    small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    """Trained so slowly that the weights stay as they are."""
    trained = train_mlp(small, tmp_path, report, epochs=1, batch_size=64, learning_rate=1e-9)
    probabilities = predict(TrainedModel(MLP, trained, small).classifier, torch.tensor(small.train_images))
    assert trained.history[0].train_accuracy == pytest.approx(accuracy(probabilities, small.train_labels).overall)
    assert trained.history[0].loss == pytest.approx(mean_loss(probabilities, small.train_labels), rel=1e-3)


class TestChanges:
    """What is asked for beside the recipe."""

    def test_are_done_and_recorded(self, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        trained = train_mlp(small, tmp_path, report, epochs=1, batch_size=100, weight_decay=0.5, label_smoothing=0.25)
        assert (trained.recipe.batch_size, trained.recipe.weight_decay) == (100, 0.5)
        assert "batch 100, sgd lr 0.05 momentum 0.9, weight decay 0.5, label smoothing 0.25, 1 epoch\n" in report.text

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("epochs", 5, "begun with epochs 3, not 5"),
            ("epochs", 2, "begun with epochs 3, not 2"),
            ("weight_decay", 0.5, "begun with weight decay 0.01, not 0.5"),
            ("learning_rate", 0.5, "begun with learning rate 0.003, not 0.5"),
            ("dropout", 0.0, "begun with dropout 0.2, not 0.0"),
            ("batch_size", 8, "begun with batch size 16, not 8"),
            ("label_smoothing", 0.0, "begun with label smoothing 0.1, not 0.0"),
            ("augmentation", NONE, "begun with augmentation flip, .*, zoom 10%, not none"),
            ("precision", "float32", "begun with precision bfloat16, not float32"),
            ("freeze", True, "begun with freeze False, not True"),
        ],
    )
    def test_that_contradict_the_checkpoint_are_refused(
        self, small: Dataset, begun: Path, field: str, value: object, message: str
    ) -> None:
        with pytest.raises(InvalidCheckpoint, match=f"{message}; name that one .* --restart"):
            train(MLP, small, EVERYTHING, begun, CPU, RecordedReport(), changes={field: value})

    @pytest.fixture(scope="class")
    @staticmethod
    def begun(small: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A one-cycle training, stopped at its third step."""
        folder = tmp_path_factory.mktemp("begun")
        with pytest.raises(TrainingInterrupted):
            train_mlp(small, folder, InterruptingReport(3), EVERYTHING)
        return folder

    def test_that_are_the_checkpoints_own_are_no_contradiction(self, small: Dataset, begun: Path) -> None:
        before = checkpoints.load(begun)
        again = InterruptingReport(1)
        with pytest.raises(TrainingInterrupted, match="epoch 1 of 3, after step 4"):
            train_mlp(small, begun, again, EVERYTHING, epochs=3, weight_decay=0.01, dropout=0.2, precision="auto")
        assert checkpoints.load(begun).recipe == before.recipe
        assert before.seconds < checkpoints.load(begun).seconds < before.seconds + 300, "what it took so far"
        checkpoints.save(before, begun)


class TestCheckpointFolder:
    """Found out before training, not after an hour of it."""

    def test_that_is_a_file(self, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        (tmp_path / "file").write_text("")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(OSError, match="file"):
                train_mlp(small, folder, report)
        assert report.text == ""

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_that_is_read_only(self, small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError, match="cannot be written to; name another with --checkpoints"):
            train_mlp(small, tmp_path, report)
        assert report.text == ""


class TestFreeze:
    @pytest.mark.parametrize("averaging", [None, 0.5])
    def test_only_the_last_layer_learns(
        self, few: Dataset, tmp_path: Path, report: RecordedReport, averaging: float | None
    ) -> None:
        """Weights, and what batch normalisation knows, are those it began with."""
        changes = {"freeze": True, "epochs": 2, "batch_size": 32, "averaging": averaging}
        begun_with = Trainer(NIN, few, RECIPE, 0, CPU).model.network.state_dict()
        weights = Weights("given.pt", begun_with)
        trained = train(NIN, few, RECIPE, tmp_path, CPU, report, changes=changes, weights=weights)
        changed = {name for name, value in trained.trained_weights.items() if not torch.equal(value, begun_with[name])}
        assert changed == {"classifier.0.weight", "classifier.0.bias"}
        assert trained.history[1].loss < trained.history[0].loss
        assert "only the last layer" in report.text

    def test_from_weights_for_other_classes_the_last_layer_is_fresh(
        self, few: Dataset, tmp_path: Path, report: RecordedReport
    ) -> None:
        two = dataclasses.replace(
            few, labels=("even", "odd"), train_labels=few.train_labels % 2, test_labels=few.test_labels % 2
        )
        weights = Weights("digits.pt", Trainer(NIN, few, RECIPE, 5, CPU).model.network.state_dict())
        changes = {"freeze": True, "epochs": 1, "batch_size": 32}
        trained = train(NIN, two, RECIPE, tmp_path, CPU, report, changes=changes, weights=weights)
        assert trained.started_from == "digits.pt"
        assert "begins from digits.pt; its last layer is for other classes and starts anew" in report.text
        assert trained.model["classifier.0.weight"].shape[0] == 2
        for name, value in weights.tensors.items():
            assert name.startswith("classifier.") or torch.equal(trained.model[name], value), name


class TestPrecision:
    AUTO = dataclasses.replace(RECIPE, epochs=1, batch_size=32, averaging=0.9, dropout=0.3, precision="auto")

    def test_auto_settles_on_one_and_the_trials_change_nothing(
        self, few: Dataset, tmp_path: Path, report: RecordedReport
    ) -> None:
        measured = train(NIN, few, self.AUTO, tmp_path / "measured", CPU, report)
        assert measured.recipe.precision in ("float32", "bfloat16")
        assert f"device  cpu (1 thread), {measured.recipe.precision} (a step takes" in report.text
        assert checkpoints.load(tmp_path / "measured").recipe == measured.recipe
        stated = dataclasses.replace(self.AUTO, precision=measured.recipe.precision)
        assert_same(measured, train(NIN, few, stated, tmp_path / "stated", CPU, report))

    @pytest.mark.parametrize("kind", ["mps", "cuda"])
    def test_a_trial_ends_when_the_device_has_done_it(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is none here to be waited for: only that it is, each time."""
        done: list[object] = []
        monkeypatch.setattr(torch.accelerator, "synchronize", done.append)
        mixed_precision.choose(done.append, torch.device(kind))
        assert done == ["float32", torch.device(kind), "bfloat16", torch.device(kind)] * 4

    def test_weights_stay_float32_and_so_does_what_is_served(
        self, small: Dataset, tmp_path: Path, report: RecordedReport
    ) -> None:
        trained = train_mlp(small, tmp_path, report, precision="bfloat16", epochs=1)
        assert {value.dtype for value in trained.model.values()} == {torch.float32}
        assert trained.history[-1].test_accuracy == TrainedModel(MLP, trained, small).accuracy.overall


class TestCheckpoints:
    """Files that are not the checkpoint they should be."""

    def test_of_another_network(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        with pytest.raises(InvalidCheckpoint, match="is of mlp on sample, not of lenet on sample"):
            train(NETWORKS["lenet"], small, RECIPE, tmp_path, CPU, RecordedReport())

    def test_of_other_images(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        others = dataclasses.replace(small, train_labels=small.train_labels[::-1])  # as many, of the same classes
        with pytest.raises(InvalidCheckpoint, match="sample now has 600 of 10, and not the same ones"):
            train_mlp(others, tmp_path, RecordedReport())

    def test_of_another_seed(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        with pytest.raises(InvalidCheckpoint, match="begun with seed 0, not 7"):
            train_mlp(small, tmp_path, RecordedReport(), seed=7)

    def test_of_a_network_that_has_changed_since(self, small: Dataset, tmp_path: Path) -> None:
        found = train_mlp(small, tmp_path, RecordedReport())
        weights = {f"old.{name}": value for name, value in found.model.items()}
        changed = dataclasses.replace(found, model=weights)
        checkpoints.save(changed, tmp_path)
        said = r"not those of mlp as it is built now.* train anew with --restart"
        with pytest.raises(InvalidCheckpoint, match=said):
            _ = TrainedModel(MLP, changed, small).classifier
        with pytest.raises(InvalidCheckpoint, match=said):
            train_mlp(small, tmp_path, RecordedReport(), epochs=5)  # goes on

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", None], ids=["empty", "text", "cut off"])
    def test_damaged(self, trained: Checkpoint, tmp_path: Path, content: bytes | None) -> None:
        checkpoints.save(trained, tmp_path)
        path = tmp_path / checkpoints.FILE
        path.write_bytes(path.read_bytes()[:5000] if content is None else content)
        with pytest.raises(InvalidCheckpoint, match="--restart"):
            checkpoints.load(tmp_path)

    def test_of_something_else(self, tmp_path: Path) -> None:
        torch.save({"weights": torch.zeros(3)}, tmp_path / checkpoints.FILE)
        with pytest.raises(InvalidCheckpoint, match="no checkpoint of this version of Covey"):
            checkpoints.load(tmp_path)

    def test_that_would_run_code(self, tmp_path: Path) -> None:
        torch.save({"model": subprocess.run}, tmp_path / checkpoints.FILE)
        with pytest.raises(InvalidCheckpoint):
            checkpoints.load(tmp_path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidCheckpoint, match="does not exist; train the network first"):
            checkpoints.load(tmp_path)

    def test_unfinished(self, trained: Checkpoint, tmp_path: Path) -> None:
        recipe = dataclasses.replace(trained.recipe, epochs=5)
        checkpoints.save(dataclasses.replace(trained, recipe=recipe, step=7), tmp_path)
        with pytest.raises(InvalidCheckpoint, match=r"not finished \(epoch 4 of 5, after step 7\)"):
            checkpoints.load_finished(tmp_path)
