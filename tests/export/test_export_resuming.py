"""A training that is stopped after any step, or killed, goes on to the result of one that never was, bit for bit."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.export.recorded_report import CPU, RecordedReport
from tests.export.trainings import (
    EVERYTHING,
    LION,
    MLP,
    MUON,
    RECIPE,
    STEPS,
    InterruptingReport,
    Killed,
    KillingReport,
    assert_same,
    train_mlp,
)

from covey_export import checkpoint as checkpoints
from covey_export.__main__ import main
from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset, find_entry
from covey_export.errors import InvalidCheckpoint, TrainingInterrupted
from covey_export.networks import NETWORKS
from covey_export.training.recipe import Recipe
from covey_export.training.run import train

ADAM = dataclasses.replace(RECIPE, optimizer="adam", learning_rate=0.001, momentum=0.0)
# Killed in its second epoch, saved every 20 steps.
SAVED_OFTEN = dataclasses.replace(EVERYTHING, epochs=2, checkpoint_steps=20, threads=1)
KILLED_AT = STEPS + 35
KILLED_PROGRAM = """
import sys
from pathlib import Path
from tests.export.test_export_resuming import train_and_wait_for_the_kill
train_and_wait_for_the_kill(Path(sys.argv[1]))
"""
# Ctrl-C as the first epoch ends: sent from outside it may come when a short training has ended.
INTERRUPTED_PROGRAM = """
import signal, sys
from covey_export.__main__ import main
write = sys.stdout.write
def write_and_interrupt(text):
    written = write(text)
    if text.startswith("epoch 1/"):
        sys.stdout.write = write
        signal.raise_signal(signal.SIGINT)
    return written
sys.stdout.write = write_and_interrupt
sys.exit(main(sys.argv[1:]))
"""
PROJECT = Path(__file__).parents[2]
COMMAND = ("train", "mlp", "--dataset", "sample", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What COMMAND comes to when nobody interferes."""
    folder = tmp_path_factory.mktemp("whole")
    assert main([*COMMAND, "--checkpoint", str(folder)]) == 0
    return checkpoints.load_finished(folder)


@pytest.fixture(scope="module")
def uninterrupted(
    request: pytest.FixtureRequest, small: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Checkpoint]:
    """A recipe, and what it comes to."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return request.param, train_mlp(small, folder, RecordedReport(), request.param)


@pytest.mark.parametrize(
    ("uninterrupted", "at_step"),
    [
        pytest.param(RECIPE, 50, id="sgd-mid-epoch"),
        pytest.param(ADAM, 50, id="adam-mid-epoch"),
        pytest.param(MUON, 50, id="muon-mid-epoch"),
        pytest.param(LION, 50, id="lion-mid-epoch"),
        pytest.param(EVERYTHING, 1, id="everything-first"),
        pytest.param(EVERYTHING, 50, id="everything-mid-epoch"),
        pytest.param(EVERYTHING, 2 * STEPS, id="everything-last-of-epoch"),
        pytest.param(EVERYTHING, 3 * STEPS - 1, id="everything-last-but-one"),
    ],
    indirect=["uninterrupted"],
)
def test_an_interrupted_training_goes_on_to_the_same_result(
    small: Dataset, tmp_path: Path, report: RecordedReport, at_step: int, uninterrupted: tuple[Recipe, Checkpoint]
) -> None:
    recipe, whole = uninterrupted
    interrupting = InterruptingReport(at_step)
    with pytest.raises(TrainingInterrupted, match="the same command goes on"):
        train_mlp(small, tmp_path / "parts", interrupting, recipe)
    assert "Ctrl-C" in interrupting.text
    stopped = checkpoints.load(tmp_path / "parts")
    assert STEPS * len(stopped.history) + stopped.step == at_step
    torch.manual_seed(123)  # another process has another state
    assert_same(train_mlp(small, tmp_path / "parts", report, recipe), whole)
    assert_same(checkpoints.load(tmp_path / "parts"), whole)
    assert f"epoch {(at_step - 1) // STEPS + 1} of 3" in report.text


def test_who_said_restart_goes_on_without_it(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterrupted, match="step 1; the same command, without --restart, goes on from"):
        train_mlp(small, tmp_path, InterruptingReport(1), restart=True)


def test_ctrl_c_while_the_last_epoch_is_tested_is_not_forgotten(
    small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    class InterruptingAtTheEnd(InterruptingReport):
        def epoch_ends(self, epoch: int, epochs: int, result: Epoch, held_out: str) -> None:
            self.strike()

    with pytest.raises(TrainingInterrupted, match="stopped at the end of training; the same command goes on from"):
        train_mlp(small, tmp_path, InterruptingAtTheEnd(0), epochs=1)
    train_mlp(small, tmp_path, report, epochs=1)
    assert "already trained (1 epoch" in report.text


@pytest.mark.parametrize("recipe", [EVERYTHING, MUON], ids=["everything", "muon"])
def test_batch_normalisation_and_channels_last_go_on_too(
    recipe: Recipe, small: Dataset, tmp_path: Path, report: RecordedReport
) -> None:
    """A network of convolutions: its memory layout, its running statistics, its kernels as matrices and the size of its
    images are part of the state."""
    few = dataclasses.replace(small, train_images=small.train_images[:90], train_labels=small.train_labels[:90])
    changes: dict[str, Any] = {"batch_size": 32, "epochs": 2, "train_images": 90}
    recipe = dataclasses.replace(recipe, **changes, channels_last=True, first_size=0.5)

    def run(folder: str, said: RecordedReport) -> Checkpoint:
        return train(NETWORKS["nin"], few, recipe, tmp_path / folder, CPU, said)

    whole = run("whole", report)
    for _ in range(2):
        with pytest.raises(TrainingInterrupted):
            run("parts", InterruptingReport(2))
    assert_same(run("parts", report), whole)
    assert whole.model["features.0.1.num_batches_tracked"] == 6


def test_each_part_of_the_recipe_matters_to_the_result(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    """Else the tests above would hold without it."""
    weights = [train_mlp(small, tmp_path / "all", report, EVERYTHING, epochs=1).trained_weights["classifier.1.weight"]]
    plain = {
        "weight_decay": 0.0,
        "schedule": "constant",
        "label_smoothing": 0.0,
        "dropout": 0.0,
        "averaging": None,
        "augmentation": None,
        "precision": "float32",
    }
    for field, value in plain.items():
        without = train(MLP, small, EVERYTHING, tmp_path / field, CPU, report, changes={"epochs": 1, field: value})
        weights.append(without.trained_weights["classifier.1.weight"])
    for place, one in enumerate(weights):
        assert not any(torch.equal(one, other) for other in weights[place + 1 :])


def test_the_running_loss_goes_on_over_an_interruption(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    train_mlp(small, tmp_path / "whole", report)
    interrupting, resumed = InterruptingReport(55), RecordedReport()
    with pytest.raises(TrainingInterrupted):
        train_mlp(small, tmp_path / "parts", interrupting)
    train_mlp(small, tmp_path / "parts", resumed)

    def losses(text: str) -> list[str]:
        return [line for line in text.splitlines() if line.startswith(("[", "epoch"))]

    assert losses(interrupting.text) + losses(resumed.text) == losses(report.text)
    assert len(losses(report.text)) == 3 * (3 + 1)


def test_a_recipe_may_save_every_few_steps(small: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train_mlp(small, tmp_path, KillingReport(35), RECIPE, checkpoint_steps=10)
    assert checkpoints.load(tmp_path).step == 30


def test_more_epochs_later_are_the_same_as_at_once(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    train_mlp(small, tmp_path / "later", report, epochs=1)
    assert_same(train_mlp(small, tmp_path / "later", report, epochs=3), train_mlp(small, tmp_path / "once", report))


def test_an_interrupted_training_may_end_earlier(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    with pytest.raises(TrainingInterrupted):
        train_mlp(small, tmp_path / "later", InterruptingReport(5))
    shortened = train_mlp(small, tmp_path / "later", report, epochs=2)
    assert_same(shortened, train_mlp(small, tmp_path / "once", report, epochs=2))
    with pytest.raises(InvalidCheckpoint, match="begun with epochs 2, not 1"):
        train_mlp(small, tmp_path / "later", report, epochs=1)


class TestProcesses:
    """Real processes that end by real signals; another one, this one, goes on."""

    def test_the_same_command_goes_on_after_ctrl_c(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: Checkpoint
    ) -> None:
        command = [*COMMAND, "--checkpoint", str(tmp_path)]
        stopped = _start("-c", INTERRUPTED_PROGRAM, *command)
        output, errors = stopped.communicate()
        assert "epoch 1/" in output
        assert stopped.returncode == 130, errors
        assert "Traceback" not in errors
        assert f"the same command goes on from {tmp_path}" in errors
        assert not checkpoints.load(tmp_path).is_finished

        assert main(command) == 0
        assert f"going on from the checkpoint in {tmp_path}" in capsys.readouterr().out
        assert_same(checkpoints.load(tmp_path), whole)

    def test_kill_9_within_an_epoch_with_all_that_has_a_state(self, tmp_path: Path, report: RecordedReport) -> None:
        few = _few_images()
        killed = _start("-c", KILLED_PROGRAM, str(tmp_path / "parts"))
        _wait_for(killed, "waiting")
        killed.kill()
        _, errors = killed.communicate()
        assert (killed.returncode, errors) == (-signal.SIGKILL, "")
        left = checkpoints.load(tmp_path / "parts")
        assert (len(left.history), left.step) == (1, 20)
        resumed = train_mlp(few, tmp_path / "parts", report, SAVED_OFTEN)
        assert_same(resumed, train_mlp(few, tmp_path / "whole", report, SAVED_OFTEN))


class WaitingReport(InterruptingReport):
    """Stops for good in the given step, until the process is killed."""

    def strike(self) -> None:
        print("waiting", flush=True)
        while True:
            signal.pause()


def train_and_wait_for_the_kill(folder: Path) -> None:
    train_mlp(_few_images(), folder, WaitingReport(KILLED_AT), SAVED_OFTEN)


def _few_images() -> Dataset:
    """600 images to train with, 1,000 to test with."""
    sample = find_entry("sample").load(MLP.spec, None)
    return dataclasses.replace(sample, train_images=sample.train_images[::10], train_labels=sample.train_labels[::10])


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(process: subprocess.Popen[str], beginning: str) -> None:
    """Until the process has said a line that begins so."""
    assert process.stdout is not None
    assert any(line.startswith(beginning) for line in process.stdout), "it ended before it said so"
