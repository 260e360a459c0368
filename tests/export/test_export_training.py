"""Training learns, can be stopped after any step and goes on to the same result, and says why where it cannot."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport

from covey_export import checkpoint as checkpoints
from covey_export import training
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, TrainingFailed, TrainingInterrupted
from covey_export.networks import NETWORKS
from covey_export.recipes import Recipe, find_recipe
from covey_export.report import Advance

LENET = NETWORKS["lenet"]
MLP = NETWORKS["mlp"]
# Momentum gives the optimizer a state of its own; 600 images make 38 steps an epoch.
RECIPE = Recipe(
    "test", batch_size=16, epochs=3, optimizer="sgd", learning_rate=0.05, momentum=0.9, log_steps=10, train_images=600
)
ADAM = dataclasses.replace(RECIPE, optimizer="adam", learning_rate=0.001)


class InterruptingReport(RecordedReport):
    """Presses Ctrl-C, with a real signal, during the given step of the run."""

    def __init__(self, at_step: int) -> None:
        super().__init__()
        self._steps_left = at_step

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Advance]:
        del total, done
        yield self

    def advance(self, loss: float) -> None:
        del loss
        self._steps_left -= 1
        if self._steps_left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def _train(
    small: Dataset,
    folder: Path,
    report: RecordedReport,
    recipe: Recipe = RECIPE,
    *,
    seed: int | None = None,
    epochs: int | None = None,
    restart: bool = False,
) -> Checkpoint:
    return training.train(MLP, small, recipe, folder, CPU, report, seed=seed, epochs=epochs, restart=restart)


def _assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit, but for the time it took."""
    assert one.history == other.history
    assert (one.step, one.epoch_loss, one.running_loss) == (other.step, other.epoch_loss, other.running_loss)
    for name, tensor in one.model.items():
        assert torch.equal(tensor, other.model[name]), name
    assert one.optimizer["state"].keys() == other.optimizer["state"].keys()
    for key, state in one.optimizer["state"].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.optimizer["state"][key][name])), name
    assert torch.equal(one.random_state, other.random_state)


@pytest.mark.parametrize("at_step", [1, 50, 76, 113], ids=["first", "mid-epoch", "last-of-epoch", "last-but-one"])
@pytest.mark.parametrize("recipe", [RECIPE, ADAM], ids=["sgd", "adam"])
def test_an_interrupted_training_goes_on_to_the_same_result(
    small: Dataset, tmp_path: Path, report: RecordedReport, at_step: int, recipe: Recipe
) -> None:
    whole = _train(small, tmp_path / "whole", report, recipe)
    interrupting = InterruptingReport(at_step)
    with pytest.raises(TrainingInterrupted, match="the same command goes on"):
        _train(small, tmp_path / "parts", interrupting, recipe)
    assert "Ctrl-C" in interrupting.text
    stopped = checkpoints.load(tmp_path / "parts")
    assert 38 * len(stopped.history) + stopped.step == at_step
    torch.manual_seed(123)  # another process has another state
    _assert_same(_train(small, tmp_path / "parts", report, recipe), whole)
    _assert_same(checkpoints.load(tmp_path / "parts"), whole)
    assert f"epoch {at_step // 39 + 1} of 3" in report.text


def test_the_running_loss_goes_on_over_an_interruption(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    _train(small, tmp_path / "whole", report)
    interrupting, resumed = InterruptingReport(55), RecordedReport()
    with pytest.raises(TrainingInterrupted):
        _train(small, tmp_path / "parts", interrupting)
    _train(small, tmp_path / "parts", resumed)

    def losses(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(("[", "epoch"))]

    assert losses(interrupting.text) + losses(resumed.text) == losses(report.text)
    assert len(losses(report.text)) == 3 * (3 + 1)


def test_ctrl_c_at_the_command_line_leaves_a_checkpoint_and_130(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "covey_export", "train", "mlp", "--dataset", "sample", "--epochs", "4"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(folder: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, "--checkpoint", folder],
            cwd=tmp_path,
            env=one_thread,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    stopped = start("here")
    assert stopped.stdout is not None
    next(line for line in stopped.stdout if line.startswith("epoch 1/"))
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate()
    assert stopped.returncode == 130, errors
    assert "the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert 1 <= len(checkpoints.load(tmp_path / "here").history) < 4

    again, whole = start("here"), start("whole")
    for process in (again, whole):
        said, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert ("going on from the checkpoint in here" in said) == (process is again)
    _assert_same(checkpoints.load(tmp_path / "here"), checkpoints.load(tmp_path / "whole"))


def test_more_epochs_later_are_the_same_as_at_once(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    _train(small, tmp_path / "later", report, epochs=1)
    _assert_same(_train(small, tmp_path / "later", report, epochs=3), _train(small, tmp_path / "once", report))


def test_a_finished_training_is_left_alone_unless_restarted(
    small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    first = _train(small, tmp_path, report, epochs=1)
    written = (tmp_path / checkpoints.FILE).stat().st_mtime_ns
    _assert_same(_train(small, tmp_path, report, epochs=1), first)
    assert "already trained (1 epochs" in report.text
    assert (tmp_path / checkpoints.FILE).stat().st_mtime_ns == written
    other = _train(small, tmp_path, report, epochs=1, seed=1, restart=True)
    assert not torch.equal(other.model["classifier.1.weight"], first.model["classifier.1.weight"])


def test_a_recipe_may_save_every_few_steps(small: Dataset, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class KillingReport(InterruptingReport):
        def advance(self, loss: float) -> None:
            self._steps_left -= 1
            if self._steps_left == 0:
                raise Killed

    with pytest.raises(Killed):
        _train(small, tmp_path, KillingReport(35), dataclasses.replace(RECIPE, checkpoint_steps=10))
    assert checkpoints.load(tmp_path).step == 30


def test_a_runaway_loss_ends_the_training_with_its_step(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    with pytest.raises(TrainingFailed, match=r"loss is (nan|inf) in epoch 1, step \d+.*smaller learning rate"):
        _train(small, tmp_path, report, dataclasses.replace(RECIPE, learning_rate=1e30))
    assert not (tmp_path / checkpoints.FILE).exists()


def test_the_sample_is_learned(sample: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    trained = training.train(MLP, sample, find_recipe("mlp", "tutorial"), tmp_path, CPU, report, epochs=2)
    assert trained.history[-1].test_accuracy > 0.85
    assert "203,530 parameters" in report.text
    assert "device  cpu" in report.text


class TestCheckpoints:
    """Files that are not the checkpoint they should be."""

    def test_of_another_network(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        with pytest.raises(InvalidCheckpoint, match="is of mlp on sample, not of lenet on sample"):
            training.train(LENET, small, RECIPE, tmp_path, CPU, RecordedReport())

    def test_of_other_images(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        others = dataclasses.replace(small, train_labels=small.train_labels[::-1])  # as many, of the same classes
        with pytest.raises(InvalidCheckpoint, match="sample now has 600 of 10, and not the same ones"):
            _train(others, tmp_path, RecordedReport())

    def test_of_another_seed(self, small: Dataset, trained: Checkpoint, tmp_path: Path) -> None:
        checkpoints.save(trained, tmp_path)
        with pytest.raises(InvalidCheckpoint, match="begun with seed 0, not 7"):
            _train(small, tmp_path, RecordedReport(), seed=7)

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
