"""history.csv, and what it is made of: losses within epochs, and seconds."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from tests.export.recorded_report import RecordedReport
from tests.export.trainings import train_mlp

from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset
from covey_export.reports import history


def test_rows_of_losses_and_of_epochs() -> None:
    first = Epoch(2.0, 0.25, 0.5, 1.75, ((0.5, 2.25), (1.0, 1.75)), seconds=1.5)
    second = Epoch(1.0, 0.75, None, running=((0.25, 1.5),))

    assert history.to_csv((first, second)) == (
        "epoch,running_loss,training_loss,training_accuracy,test_loss,test_accuracy,seconds\n"
        "0.5,2.250000,,,,,\n"
        "1,1.750000,2.000000,0.250000,1.750000,0.500000,1.50\n"
        "1.25,1.500000,,,,,\n"
        "2,,1.000000,0.750000,,,\n"
    )


def test_no_epochs_are_a_head_alone() -> None:
    assert list(csv.reader(io.StringIO(history.to_csv(())))) == [list(history.COLUMNS)]


def test_a_short_training_keeps_losses_within_its_epochs(trained: Checkpoint) -> None:
    """Three epochs of 19 steps, the last of 24 images: a loss for each, whose mean is that of the epoch."""
    for epoch in trained.history:
        assert [share for share, _ in epoch.running] == pytest.approx([step / 19 for step in range(1, 20)])
        losses = [loss for _, loss in epoch.running]
        assert (sum(losses) * 32 - losses[-1] * 8) / 600 == pytest.approx(epoch.loss, rel=1e-4)
    seconds = [epoch.seconds or 0 for epoch in trained.history]
    assert 0 < seconds[0] < seconds[1] < seconds[2] <= trained.seconds


def test_a_long_training_keeps_none(small: Dataset, tmp_path: Path, report: RecordedReport) -> None:
    found = train_mlp(small, tmp_path, report, epochs=6, log_steps=None)
    assert [epoch.running for epoch in found.history] == [()] * 6
