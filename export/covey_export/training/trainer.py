"""The state of one training and its loop. Stopped and resumed at any time, it gives the same result, bit for bit.

What makes it the same (on the CPU): batches.py draws all that is random anew at every step; weights, their average and
the optimizer are saved whole.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from covey_export import checkpoint as checkpoints
from covey_export import head, image_classifier
from covey_export.checkpoint import Checkpoint, Epoch
from covey_export.datasets import Dataset
from covey_export.errors import TrainingFailed
from covey_export.evaluation import accuracy, mean_loss, predict
from covey_export.image_classifier import ImageClassifier
from covey_export.interruption import StopRequest
from covey_export.networks import Network
from covey_export.option_values import TrainingPrecision
from covey_export.reports.progress import ProgressReport
from covey_export.training import averaging, mixed_precision, optimization, progressive
from covey_export.training.batches import Batches
from covey_export.training.distributed import ALONE, Group
from covey_export.training.recipe import Recipe
from covey_export.training.watch import USUAL, Watch
from covey_proto.wording import plural

_SHOWN_IMAGES = 5_000
_FEW_EPOCHS = 5  # up to which losses within epochs are kept: so few means would make no curve
_KEPT_LOSSES = 20  # of an epoch, then


class Trainer:
    """One network on one data set. `recipe` is fitted to the data set, but for its precision."""

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        recipe: Recipe,
        seed: int,
        device: torch.device,
        group: Group = ALONE,
        watch: Watch = USUAL,
    ) -> None:
        torch.manual_seed(seed)
        self.network = network
        self.dataset = dataset
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.group = group
        self.watch = watch
        self.model = image_classifier.build(network, len(dataset.labels), recipe).to(device)
        if recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.started_from = self.weights_digest = ""
        self.history: list[Epoch] = []
        self.step = 0
        self.epoch_loss = 0.0
        self.epoch_right = 0.0
        self.running_loss = 0.0
        self.running: list[tuple[float, float]] = []
        self.seconds = 0.0
        self._test_images = torch.tensor(dataset.test_images, device=device)
        count = len(dataset.train_images)
        min_images = 2 if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.model.modules()) else 1
        if recipe.epochs and min(recipe.batch_size, count) < min_images * group.size:
            raise TrainingFailed(
                f"a batch of {min(recipe.batch_size, count)}: {network.name} needs {min_images} or more images in each "
                f"of {plural(group.size, 'process', 'processes')}; ask for larger batches (--batch-size)"
            )
        self._batches = Batches(dataset, recipe, seed, device, group)

    def show_images(self) -> None:
        """Shows training images to fresh weights that depend on them (`fit_to_images`, where the network has it)."""
        fit_to_images = getattr(self.model.network, "fit_to_images", None)
        if fit_to_images is not None and self.recipe.epochs:
            fit_to_images(self.model.normalise(self._batches.images[:_SHOWN_IMAGES]))

    def prepare(self) -> None:
        """Prepares the optimizer, the average and the forward pass, once the first weights are loaded."""
        if self.recipe.freeze:
            head.freeze_all_but_head(self.model.network, len(self.dataset.labels))
        if self.recipe.epochs and not any(value.requires_grad for value in self.model.network.parameters()):
            raise TrainingFailed(
                f"{self.network.name} has nothing to learn, and recipe {self.recipe.name!r} asks for "
                f"{plural(self.recipe.epochs, 'epoch')}; leave --recipe and --weights out"
            )
        self.optimizer = optimization.build_optimizer(self.model.network, self.recipe) if self.recipe.epochs else None
        self.average = averaging.begin(self.model.network, self.recipe.averaging)
        self._forward = self.group.wrap(self.model.network, self.device)

    def choose_precision(self) -> str:
        """Replaces the precision "auto" by the faster one, measured here; returns the choice for people."""
        if self.recipe.precision != "auto" or not self.recipe.epochs:
            return self.recipe.precision
        images = self.model.normalise(self._batches.images[: self.recipe.batch_size])
        labels = self._batches.labels[: self.recipe.batch_size]
        state = {name: value.clone() for name, value in self.model.network.state_dict().items()}

        def try_step(precision: TrainingPrecision) -> None:
            with mixed_precision.autocast(precision, self.device):
                outputs = self.model.network(images)
            optimization.loss(outputs, labels, self.network.output, 0.0).backward()  # type: ignore[no-untyped-call]
            self.model.network.zero_grad(set_to_none=True)

        faster, description = self.group.agree(mixed_precision.choose(try_step, self.device))
        self.model.network.load_state_dict(state)  # batch normalisation has counted the trials
        self.recipe = replace(self.recipe, precision=faster)
        return str(description)

    def checkpoint(self) -> Checkpoint:
        """The state as it is now."""
        return Checkpoint(
            network=self.network.name,
            dataset=self.dataset.name,
            image_shape=self.network.image_shape,
            resize=self.network.resize.value,
            crop=self.network.crop,
            background=self.network.background,
            labels=self.dataset.labels,
            train_images=len(self.dataset.train_images),
            images_digest=self.dataset.digest,
            recipe=self.recipe,
            seed=self.seed,
            started_from=self.started_from,
            weights_digest=self.weights_digest,
            history=tuple(self.history),
            step=self.step,
            epoch_loss=self.epoch_loss,
            epoch_right=self.epoch_right,
            running_loss=self.running_loss,
            seconds=self.seconds,
            model=self.model.network.state_dict(),
            average=self.average.state_dict() if self.average else None,
            optimizer=self.optimizer.state_dict() if self.optimizer else None,
            running=tuple(self.running),
            kept_images=self.dataset.kept_images,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over the state of a checkpoint of the same network, data set, recipe and seed.

        Raises InvalidCheckpoint.
        """
        checkpoint.load_weights_into(self.model.network, trained=False)
        self.prepare()
        if self.average and checkpoint.average:
            self.average.load_state_dict(checkpoint.average)
        if self.optimizer and checkpoint.optimizer:
            self.optimizer.load_state_dict(checkpoint.optimizer)
        self.started_from, self.weights_digest = checkpoint.started_from, checkpoint.weights_digest
        self.history = list(checkpoint.history)
        self.step = checkpoint.step
        self.epoch_loss = checkpoint.epoch_loss
        self.epoch_right = checkpoint.epoch_right
        self.running_loss = checkpoint.running_loss
        self.running = list(checkpoint.running)
        self.seconds = checkpoint.seconds

    def run(self, folder: Path, report: ProgressReport) -> bool:
        """Trains to the recipe's last epoch, or until Ctrl-C: False. The checkpoint is saved either way.

        Raises TrainingFailed, OSError.
        """
        total = self._batches.steps * self.recipe.epochs
        done = self._batches.steps * len(self.history) + self.step
        began_s = time.monotonic() - self.seconds
        self._set_train_mode()
        with report.progress(total, done) as progress, StopRequest(report.stop_requested) as stop:
            while len(self.history) < self.recipe.epochs:
                for batch in self._batches.remaining(len(self.history), self.step):
                    loss = self._train_step(batch)
                    progress.advance(loss)
                    self._keep_running_loss(report)
                    self.seconds = time.monotonic() - began_s
                    if self._must_stop(stop):
                        self.save(folder)
                        return False
                    if self.recipe.checkpoint_steps and self.step % self.recipe.checkpoint_steps == 0:
                        self.save(folder)
                self._end_epoch(report)
                self.seconds = time.monotonic() - began_s
                self.save(folder)
            if self._must_stop(stop):  # asked for while the last epoch was tested
                return False
        if not self.recipe.epochs:
            self.save(folder)
        report.training_ends(self.seconds)
        return True

    def _set_train_mode(self) -> None:
        self.model.train()
        if self.recipe.freeze:
            head.set_frozen_part_to_evaluation(self.model.network, len(self.dataset.labels))

    def _must_stop(self, stop: StopRequest) -> bool:
        """Whether any process of the group was asked to stop: all stop at the same step."""
        return self.group.total(float(stop.requested))[0] > 0

    def _train_step(self, whole_batch: torch.Tensor) -> float:
        assert self.optimizer is not None, "this is a bug: a recipe without epochs makes no steps"
        batch = self.group.share(whole_batch)
        done = (self._batches.steps * len(self.history) + self.step) / (self._batches.steps * self.recipe.epochs)
        rate = optimization.learning_rate(self.recipe, done)
        optimization.set_learning_rate(self.optimizer, rate)
        images = self.model.normalise(self._batches.draw(batch, len(self.history), self.step))
        images = progressive.shrink(images, self.recipe.first_size, done)
        labels = self._batches.labels[batch]
        with mixed_precision.autocast(self.recipe.precision, self.device):
            outputs = self._forward(images)
        loss = optimization.loss(outputs, labels, self.network.output, self.recipe.label_smoothing)
        # Weighted by its images in each process, the mean gradient of the processes is that of the whole batch.
        weight = len(batch) * self.group.size / len(whole_batch)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss * weight if self.group.size > 1 else loss)
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.model.network)
        self.step += 1
        right = float((outputs.detach().argmax(dim=1) == labels).sum())
        loss_sum, right, images_seen = self.group.total(loss.item() * len(batch), right, len(batch))
        value = loss_sum / images_seen
        if not math.isfinite(value):
            hint = ", with --precision float32 (it is bfloat16)" if self.recipe.precision == "bfloat16" else ""
            raise TrainingFailed(
                f"the loss is {value} in epoch {len(self.history) + 1}, step {self.step:,}: the weights have run away "
                f"from the data. Begin anew (--restart) with a smaller --learning-rate (it is "
                f"{self.recipe.learning_rate:g}){hint}, or with another --seed"
            )
        self.epoch_loss += loss_sum
        self.epoch_right += right
        self.running_loss += value
        return value

    def _keep_running_loss(self, report: ProgressReport) -> None:
        """Keeps the mean loss of some steps, and reports it where the recipe asks for that."""
        steps = self.recipe.log_steps or (
            math.ceil(self._batches.steps / _KEPT_LOSSES) if self.recipe.epochs <= _FEW_EPOCHS else 0
        )
        if steps and self.step % steps == 0:
            loss = self.running_loss / steps
            if self.recipe.log_steps:
                report.running_loss(len(self.history) + 1, self.step, loss)
            self.running.append((self.step / self._batches.steps, loss))
            self.running_loss = 0.0

    def _end_epoch(self, report: ProgressReport) -> None:
        images = self._batches.images_of_epoch
        with report.doing(f"testing epoch {len(self.history) + 1}"):
            figures = self.group.agree(self._measure() if self.group.is_first else {})
        self.history.append(
            Epoch(
                self.epoch_loss / images,
                self.epoch_right / images,
                running=tuple(self.running),
                seconds=self.seconds,
                **figures,
            )
        )
        self.running = []
        self.step = 0
        self.epoch_loss = self.epoch_right = self.running_loss = 0.0
        report.epoch_ends(len(self.history), self.recipe.epochs, self.history[-1], self.dataset.held_out)

    def _measure(self) -> dict[str, float | None]:
        """The figures that `watch` asks for, by the field of Epoch, of the weights as they would be served now. Those
        of the last epoch are in float32, as they will be served."""
        model = self.model
        if self.average:
            averaged: AveragedModel = self.average
            model = ImageClassifier.around(averaged.module, self.model)
        is_last = len(self.history) + 1 >= self.recipe.epochs
        figures: dict[str, float | None] = {"test_accuracy": None}
        with mixed_precision.autocast("float32" if is_last else self.recipe.precision, self.device):
            if is_last or not self.watch.test_once:
                probabilities, labels = predict(model, self._test_images), self.dataset.test_labels
                figures["test_accuracy"] = accuracy(probabilities, labels).overall
                figures["test_loss"] = mean_loss(probabilities, labels)
            if count := self.watch.train_images:
                # Random ones, not the first: folders are read class by class.
                indices = np.sort(np.random.default_rng(0).permutation(len(self.dataset.train_labels))[:count])
                probabilities = predict(model, self._batches.images[torch.tensor(indices)])
                figures["clean_accuracy"] = accuracy(probabilities, self.dataset.train_labels[indices]).overall
                squares = [value.detach().float().square().sum() for value in model.network.parameters()]
                figures["norm"] = float(torch.stack(squares).sum().sqrt())
        self._set_train_mode()
        return figures

    def save(self, folder: Path) -> None:
        """Writes the checkpoint, if this is the first process. Raises OSError."""
        if self.group.is_first:
            checkpoints.save(self.checkpoint(), folder)
