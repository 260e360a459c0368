"""Two processes of torchrun train what one does: one checkpoint, one voice, the same losses, and they can be stopped.

The network has no batch normalisation, so that the mean of the two processes' gradients is that of the whole batch.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.export.group_of_two import run_two
from tests.export.recorded_report import CPU, tree

from covey_export import checkpoint as checkpoints
from covey_export.__main__ import main
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import find_entry
from covey_export.networks import NETWORKS
from covey_export.reports.progress import ProgressReport
from covey_export.training.distributed import ALONE, Group
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
MLP = NETWORKS["mlp"]
TRAIN = ("train", "mlp", "--dataset", "sample", "--epochs", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    assert main([*TRAIN, "--checkpoint", str(folder)]) == 0
    return checkpoints.load_finished(folder)


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*TORCHRUN, "covey_export", *TRAIN, "--checkpoint", "together"],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _train_the_command() -> None:
    sys.exit(main([*TRAIN, "--checkpoint", "together"]))


def _train_on_batches_of_three(folder: str) -> None:
    """Twenty of them."""
    sample = find_entry("sample").load(MLP.spec, None)
    few = dataclasses.replace(sample, train_images=sample.train_images[:60], train_labels=sample.train_labels[:60])
    changes = {"epochs": 1, "batch_size": 3}
    train(MLP, few, find_recipe("mlp"), Path(folder), CPU, ProgressReport.silent(), changes=changes)


def _train_on_other_images_than_the_first() -> None:
    demo = find_entry("demo").load(MLP.spec, None)
    if os.environ["RANK"] != "0":
        demo = dataclasses.replace(demo, test_images=demo.test_images[::-1])
    train(MLP, demo, find_recipe("mlp"), Path("checkpoint"), CPU, ProgressReport.silent())


def test_two_processes_come_to_what_one_does(tmp_path: Path, alone: Checkpoint) -> None:
    processes = run_two(_train_the_command, tmp_path)
    assert [process.exit_code for process in processes] == [0, 0], processes
    said = "".join(process.output for process in processes)
    assert "device  cpu (1 thread), 2 processes" in said
    for once in ("mlp: 203,530 parameters", "epoch 1/2", "epoch 2/2", "accuracy on the 1,000 test images"):
        assert said.count(once) == 1
    assert tree(tmp_path) == {"together", "together/checkpoint.pt"}
    together = checkpoints.load_finished(tmp_path / "together")
    assert together.recipe == alone.recipe
    assert together.history[0].loss == pytest.approx(alone.history[0].loss, abs=1e-3)
    assert together.history[0].train_accuracy == pytest.approx(alone.history[0].train_accuracy, abs=2e-3)
    assert together.history[-1].test_accuracy == pytest.approx(alone.history[-1].test_accuracy, abs=0.015)


def test_shares_of_uneven_sizes_count_by_their_images(tmp_path: Path) -> None:
    """Of each three images one process has two; the mean of the processes' gradients would favour the other."""
    _train_on_batches_of_three(str(tmp_path / "alone"))
    processes = run_two(_train_on_batches_of_three, tmp_path, "together")
    assert [process.exit_code for process in processes] == [0, 0], processes
    alone, together = (checkpoints.load_finished(tmp_path / name) for name in ("alone", "together"))
    for name, tensor in alone.model.items():
        assert torch.allclose(together.model[name], tensor, atol=1e-5), name


def test_two_processes_stop_together_and_one_goes_on(
    tmp_path: Path, alone: Checkpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = _start(tmp_path)
    assert process.stdout is not None
    assert any(line.startswith("epoch 1/") for line in process.stdout)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert errors.count("the same command goes on from together") == 1
    assert checkpoints.load(tmp_path / "together").position.startswith("epoch 2 of 2")
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--checkpoint", "together"]) == 0
    assert "going on from the checkpoint in together: epoch 2 of 2" in capsys.readouterr().out
    resumed = checkpoints.load_finished(tmp_path / "together")
    assert resumed.history[-1].loss == pytest.approx(alone.history[-1].loss, abs=2e-3)


def test_processes_with_other_images_than_the_first_train_nothing(tmp_path: Path) -> None:
    """All of them say so, and none waits for another."""
    for process in run_two(_train_on_other_images_than_the_first, tmp_path):
        last = process.errors.splitlines()[-1]
        assert process.exit_code == 1, process.errors
        assert "InvalidDataset: 1 of 2 processes would train on other images than the first, which has" in last
        assert "mlp on demo, 100 + 400 images of 28x28 grey by stretch (crop 1.0), SHA-256" in last
    assert not tree(tmp_path)


def test_one_process_speaks_and_one_of_each_machine_tells_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Which one it is a process learns from torchrun's environment."""
    monkeypatch.chdir(tmp_path)
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "mlp", "--dataset", "sample", "--epochs", "1"]) == 0
    assert main(["train", "lenett"]) == 2
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["train", "lenett"]) == 2
    assert "no network is named 'lenett'" in capfd.readouterr().err


def test_shares_are_the_whole_batch_and_a_single_process_is_a_group() -> None:
    batch = torch.arange(7)
    shares = [Group(rank, 3).share(batch) for rank in range(3)]
    assert [share.tolist() for share in shares] == [[0, 3, 6], [1, 4], [2, 5]]
    assert ALONE.share(batch).tolist() == batch.tolist()
    assert ALONE.agree("value") == "value"
    assert ALONE.total(1, 2.5) == [1, 2.5]
    network = torch.nn.Linear(1, 1)
    assert ALONE.wrap(network, torch.device("cpu")) is network
