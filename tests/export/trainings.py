"""What the tests of training share: small recipes, trainings that are interrupted, and when two came to the same."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tests.export.recorded_report import CPU, RecordedReport

from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset
from covey_export.networks import NETWORKS
from covey_export.reports.progress import Advance, ProgressReport
from covey_export.training.augmentation import Augmentation
from covey_export.training.recipe import Recipe
from covey_export.training.run import train

MLP = NETWORKS["mlp"]
# Momentum gives the optimizer a state of its own; 600 images make 38 steps an epoch.
RECIPE = Recipe(
    "test", batch_size=16, epochs=3, optimizer="sgd", learning_rate=0.05, momentum=0.9, log_steps=10, train_images=600
)
STEPS = 38
MUON = dataclasses.replace(
    RECIPE, optimizer="muon", learning_rate=0.002, momentum=0.95, nesterov=True, weight_decay=0.01
)
LION = dataclasses.replace(RECIPE, optimizer="lion", learning_rate=0.0003, momentum=0.0, weight_decay=0.03)
# All that has a state or is random, at once.
EVERYTHING = dataclasses.replace(
    RECIPE,
    optimizer="adamw",
    learning_rate=0.003,
    momentum=0.0,
    weight_decay=0.01,
    schedule="one-cycle",
    label_smoothing=0.1,
    dropout=0.2,
    averaging=0.9,
    augmentation=Augmentation(flip=True, shift=0.1, cutout=0.3, rotation=10, zoom=0.1),
    mean=None,
    std=None,
    precision="bfloat16",
    channels_last=True,
)


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
            self.strike()

    def strike(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class Killed(Exception):
    """In place of the process's end."""


class KillingReport(InterruptingReport):
    """Ends the training during the given step, with no time to save anything."""

    def strike(self) -> None:
        raise Killed


def train_mlp(
    dataset: Dataset,
    folder: Path,
    report: ProgressReport,
    recipe: Recipe = RECIPE,
    *,
    seed: int | None = None,
    restart: bool = False,
    **changes: Any,
) -> Checkpoint:
    """`mlp` by the recipe with `changes`."""
    return train(MLP, dataset, recipe, folder, CPU, report, seed=seed, changes=changes, restart=restart)


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    """Bit for bit, in every field but the time it took."""
    for field in dataclasses.fields(Checkpoint):
        if field.name != "seconds":
            _assert_equal(getattr(one, field.name), getattr(other, field.name), field.name)


def _assert_equal(one: object, other: object, where: str) -> None:
    if isinstance(one, torch.Tensor):
        assert isinstance(other, torch.Tensor), where
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert isinstance(other, dict), where
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            _assert_equal(value, other[key], f"{where}.{key}")
    else:
        assert one == other, where
