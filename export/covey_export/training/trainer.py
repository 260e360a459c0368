"""Trains one network on one data set, from fresh weights or from a checkpoint, to the same result bit for bit.

What makes it the same (on the CPU): the order of the images depends on seed and epoch alone, weights and
optimizer are saved whole, and nothing else is random. Images stay in memory as uint8; a batch is an index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from covey_export import checkpoint as checkpoints
from covey_export import devices, served_model
from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset
from covey_export.errors import InvalidCheckpoint, TrainingFailed, TrainingInterrupted
from covey_export.evaluation import accuracy, predict
from covey_export.interruption import StopRequest
from covey_export.networks import Network, Output
from covey_export.recipes import Recipe
from covey_export.report import Report

_SMALLEST_PROBABILITY = 1e-12  # a softmax can give 0, whose logarithm would end the training


def train(
    network: Network,
    dataset: Dataset,
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    report: Report,
    *,
    seed: int | None = None,
    epochs: int | None = None,
    restart: bool = False,
) -> Checkpoint:
    """Trains to the end, keeping the checkpoint in `folder` up to date, and returns the last one.

    Goes on from the checkpoint found there unless `restart`; a finished one is returned as it is, unless more
    `epochs` are asked for. `seed` (0) and `epochs` (the recipe's) may be left to the checkpoint.

    Raises InvalidCheckpoint, TrainingFailed, TrainingInterrupted (the checkpoint is saved), OSError.
    """
    found = None if restart else _find(folder, network, dataset, recipe.name, seed, epochs)
    if found is not None and found.is_finished:
        report.line(f"already trained ({found.position}, checkpoint in {folder}); --restart trains anew")
        return found
    if found is not None:
        report.line(f"going on from the checkpoint in {folder}: {found.position}")
        trainer = Trainer(network, dataset, found.recipe, found.seed, device)
        trainer.restore(found)
    else:
        trainer = Trainer(network, dataset, _recipe(recipe, dataset, epochs), seed or 0, device)
    with _threads(trainer.recipe.threads):
        report.training_begins(network, dataset, trainer.recipe, trainer.model.network, devices.describe(device))
        trainer.run(folder, report)
    return trainer.checkpoint()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _find(
    folder: Path, network: Network, dataset: Dataset, recipe_name: str, seed: int | None, epochs: int | None
) -> Checkpoint | None:
    """The checkpoint to go on with, aiming at `epochs`. Raises InvalidCheckpoint where it is another training's."""
    if not (folder / checkpoints.FILE).exists():
        return None
    found = checkpoints.load(folder)
    found.require_match(network, dataset)
    if seed not in (None, found.seed):
        raise InvalidCheckpoint(
            f"the checkpoint in {folder} was begun with seed {found.seed}, not {seed}; "
            f"leave --seed out to go on with it, or begin anew with --restart"
        )
    if found.recipe.name != recipe_name:
        raise InvalidCheckpoint(
            f"the checkpoint in {folder} was begun with recipe {found.recipe.name!r}, not {recipe_name!r}; "
            f"name that one to go on with it, or begin anew with --restart"
        )
    return replace(found, recipe=replace(found.recipe, epochs=epochs or found.recipe.epochs))


def _recipe(recipe: Recipe, dataset: Dataset, epochs: int | None) -> Recipe:
    adapted = recipe.adapted_to(len(dataset.train_images))
    return replace(adapted, epochs=epochs) if epochs else adapted


class Trainer:
    """The state of one training, and the loop that moves it on."""

    def __init__(self, network: Network, dataset: Dataset, recipe: Recipe, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.network = network
        self.dataset = dataset
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.model = served_model.build(network, len(dataset.labels), recipe).to(device)
        self.optimizer = _build_optimizer(self.model.network, recipe)
        self.history: list[Epoch] = []
        self.step = 0
        self.epoch_loss = 0.0
        self.running_loss = 0.0
        self.seconds = 0.0
        self._train_images = torch.tensor(dataset.train_images, device=device)
        self._train_labels = torch.tensor(dataset.train_labels, device=device)
        self._test_images = torch.tensor(dataset.test_images, device=device)
        self._steps = math.ceil(len(dataset.train_images) / recipe.batch_size)

    def checkpoint(self) -> Checkpoint:
        """The state as it is now."""
        return Checkpoint(
            network=self.network.name,
            dataset=self.dataset.name,
            labels=self.dataset.labels,
            train_images=len(self.dataset.train_images),
            images_digest=self.dataset.digest,
            recipe=self.recipe,
            seed=self.seed,
            history=tuple(self.history),
            step=self.step,
            epoch_loss=self.epoch_loss,
            running_loss=self.running_loss,
            seconds=self.seconds,
            model=self.model.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            random_state=torch.get_rng_state(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over the state of a checkpoint of the same network, data set, recipe and seed."""
        self.model.network.load_state_dict(checkpoint.model)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        torch.set_rng_state(checkpoint.random_state)
        self.history = list(checkpoint.history)
        self.step = checkpoint.step
        self.epoch_loss = checkpoint.epoch_loss
        self.running_loss = checkpoint.running_loss
        self.seconds = checkpoint.seconds

    def run(self, folder: Path, report: Report) -> None:
        """Trains to the recipe's last epoch. Raises as `train` does."""
        total = self._steps * self.recipe.epochs
        done = self._steps * len(self.history) + self.step
        begun = time.monotonic() - self.seconds
        with report.progress(total, done) as progress, StopRequest(report.stop_requested) as stop:
            while len(self.history) < self.recipe.epochs:
                for batch in self._remaining_batches():
                    loss = self._train_step(batch)
                    progress.advance(loss)
                    self._say_running_loss(report)
                    self.seconds = time.monotonic() - begun
                    if stop.requested:
                        self._save(folder)
                        raise TrainingInterrupted(
                            f"stopped at {self.checkpoint().position}; the same command goes on from {folder}"
                        )
                    if self.recipe.checkpoint_steps and self.step % self.recipe.checkpoint_steps == 0:
                        self._save(folder)
                self._end_epoch(report)
                self.seconds = time.monotonic() - begun
                self._save(folder)
        report.training_ends(self.seconds)

    def _remaining_batches(self) -> Iterator[torch.Tensor]:
        """Indices of the images of each step that the epoch under way still needs."""
        order = np.random.default_rng((self.seed, len(self.history))).permutation(len(self._train_images))
        places = torch.tensor(order, device=self.device)
        size = self.recipe.batch_size
        for start in range(self.step * size, len(places), size):
            yield places[start : start + size]

    def _train_step(self, batch: torch.Tensor) -> float:
        outputs = self.model.network(self.model.normalise(self._train_images[batch]))
        loss = _loss(outputs, self._train_labels[batch], self.network.output)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingFailed(
                f"the loss is {value} in epoch {len(self.history) + 1}, step {self.step:,}: the weights have run away "
                f"from the data. A smaller learning rate helps (it is {self.recipe.learning_rate:g}), or another --seed"
            )
        self.epoch_loss += value * len(batch)
        self.running_loss += value
        return value

    def _say_running_loss(self, report: Report) -> None:
        if self.recipe.log_steps and self.step % self.recipe.log_steps == 0:
            report.running_loss(len(self.history) + 1, self.step, self.running_loss / self.recipe.log_steps)
            self.running_loss = 0.0

    def _end_epoch(self, report: Report) -> None:
        found = accuracy(predict(self.model, self._test_images), self.dataset.test_labels)
        self.history.append(Epoch(self.epoch_loss / len(self._train_images), found.overall))
        self.step = 0
        self.epoch_loss = self.running_loss = 0.0
        report.epoch_ends(len(self.history), self.recipe.epochs, self.history[-1])

    def _save(self, folder: Path) -> None:
        checkpoints.save(self.checkpoint(), folder)


def _build_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    return torch.optim.SGD(network.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)


def _loss(outputs: torch.Tensor, labels: torch.Tensor, output: Output) -> torch.Tensor:
    """The mean cross-entropy of a batch."""
    if output is Output.PROBABILITIES:
        return nn.functional.nll_loss(outputs.clamp_min(_SMALLEST_PROBABILITY).log(), labels)
    return nn.functional.cross_entropy(outputs, labels)
