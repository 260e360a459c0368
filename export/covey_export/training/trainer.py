"""The state of one training and the loop that moves it on, to the same result bit for bit however often it is stopped.

What makes it the same (on the CPU): all that is random is drawn anew at every step, from the seed and the step's own
place; weights, their average and the optimizer are saved whole. Images stay in memory as uint8; a batch is an
index.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
from covey_export.report import Report
from covey_export.training import averaging, mixed_precision, optimization
from covey_export.training.augmentation import NONE, augment
from covey_export.training.distributed import ALONE, Group
from covey_export.training.recipe import Recipe, TrainingPrecision
from covey_proto.wording import plural

_SHOWN_IMAGES = 5_000


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
    ) -> None:
        torch.manual_seed(seed)
        self.network = network
        self.dataset = dataset
        self.recipe = recipe
        self.seed = seed
        self.device = device
        self.group = group
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
        self._train_images = torch.tensor(dataset.train_images, device=device)
        self._train_labels = torch.tensor(dataset.train_labels, device=device)
        self._test_images = torch.tensor(dataset.test_images, device=device)
        count = len(dataset.train_images)
        least = 2 if any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.model.modules()) else 1
        if recipe.epochs and min(recipe.batch_size, count) < least * group.size:
            raise TrainingFailed(
                f"a batch of {min(recipe.batch_size, count)}: {network.name} needs {least} or more images in each of "
                f"{plural(group.size, 'process', 'processes')}; ask for larger batches (--batch-size)"
            )
        # Batch normalisation needs two images; one left over at the end of an epoch waits for the next.
        has_short_batch = count % recipe.batch_size >= min(2 * group.size, recipe.batch_size)
        self._steps = max(1, count // recipe.batch_size + has_short_batch)
        self._first_flips = torch.tensor(np.random.default_rng((seed, 0, 1)).integers(0, 2, count), dtype=torch.bool)

    def show_images(self) -> None:
        """Shows training images to fresh weights that depend on them (`fit_to_images`, where the network has it)."""
        fit_to_images = getattr(self.model.network, "fit_to_images", None)
        if fit_to_images is not None and self.recipe.epochs:
            fit_to_images(self.model.normalise(self._train_images[:_SHOWN_IMAGES]))

    def prepare(self) -> None:
        """Once the weights are those to begin with: what learns, what is averaged, how it runs forward."""
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
        """Settles "auto" by measuring; says what was chosen, for people."""
        if self.recipe.precision != "auto" or not self.recipe.epochs:
            return self.recipe.precision
        images = self.model.normalise(self._train_images[: self.recipe.batch_size])
        labels = self._train_labels[: self.recipe.batch_size]
        state = {name: value.clone() for name, value in self.model.network.state_dict().items()}

        def try_step(tried: TrainingPrecision) -> None:
            with mixed_precision.autocast(tried, self.device):
                outputs = self.model.network(images)
            optimization.loss(outputs, labels, self.network.output, 0.0).backward()  # type: ignore[no-untyped-call]
            self.model.network.zero_grad(set_to_none=True)

        chosen, said = self.group.agree(mixed_precision.choose(try_step, self.device))
        self.model.network.load_state_dict(state)  # batch normalisation has counted the trials
        self.recipe = replace(self.recipe, precision=chosen)
        return str(said)

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

    def run(self, folder: Path, report: Report) -> bool:
        """Trains to the recipe's last epoch, or until Ctrl-C: False. The checkpoint is saved either way.

        Raises TrainingFailed, OSError.
        """
        total = self._steps * self.recipe.epochs
        done = self._steps * len(self.history) + self.step
        begun = time.monotonic() - self.seconds
        self._set_train_mode()
        with report.progress(total, done) as progress, StopRequest(report.stop_requested) as stop:
            while len(self.history) < self.recipe.epochs:
                for batch in self._remaining_batches():
                    loss = self._train_step(batch)
                    progress.advance(loss)
                    self._say_running_loss(report)
                    self.seconds = time.monotonic() - begun
                    if self._must_stop(stop):
                        self.save(folder)
                        return False
                    if self.recipe.checkpoint_steps and self.step % self.recipe.checkpoint_steps == 0:
                        self.save(folder)
                self._end_epoch(report)
                self.seconds = time.monotonic() - begun
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

    def _remaining_batches(self) -> Iterator[torch.Tensor]:
        """Indices of the images of each step that the epoch under way still needs."""
        order = np.arange(len(self._train_images))
        if self.recipe.shuffle:
            order = np.random.default_rng((self.seed, len(self.history))).permutation(order)
        places = torch.tensor(order, device=self.device)
        size = self.recipe.batch_size
        for step in range(self.step, self._steps):
            yield places[step * size : (step + 1) * size]

    def _train_step(self, whole_batch: torch.Tensor) -> float:
        assert self.optimizer is not None, "this is a bug: a recipe without epochs makes no steps"
        batch = self.group.share(whole_batch)
        place = self._steps * len(self.history) + self.step
        rate = optimization.learning_rate(self.recipe, place / (self._steps * self.recipe.epochs))
        optimization.set_learning_rate(self.optimizer, rate)
        images = self.model.normalise(self._images(batch, place))
        labels = self._train_labels[batch]
        with mixed_precision.autocast(self.recipe.precision, self.device):
            outputs = self._forward(images)
        loss = optimization.loss(outputs, labels, self.network.output, self.recipe.label_smoothing)
        # The gradients' mean over the processes is that of the whole batch where each counts by its images.
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
            raise TrainingFailed(
                f"the loss is {value} in epoch {len(self.history) + 1}, step {self.step:,}: the weights have run away "
                f"from the data. Begin anew (--restart) with a smaller --learning-rate (it is "
                f"{self.recipe.learning_rate:g}){self._half_precision_hint()}, or with another --seed"
            )
        self.epoch_loss += loss_sum
        self.epoch_right += right
        self.running_loss += value
        return value

    def _half_precision_hint(self) -> str:
        return ", with --precision float32 (it is bfloat16)" if self.recipe.precision == "bfloat16" else ""

    def _images(self, batch: torch.Tensor, place: int) -> torch.Tensor:
        """The batch's images, changed at random; all randomness of this step begins here."""
        generator = torch.Generator()
        state = np.random.SeedSequence((self.seed, place, self.group.rank)).generate_state(2, np.uint64)
        torch.manual_seed(int(state[0]))  # of dropout
        generator.manual_seed(int(state[1]))
        images = self._train_images[batch]
        how = self.recipe.augmentation or NONE
        if how == NONE:
            return images
        flipped = self._first_flips[batch.cpu()] ^ bool(len(self.history) % 2)
        return augment(images, flipped, how, generator)

    def _say_running_loss(self, report: Report) -> None:
        if self.recipe.log_steps and self.step % self.recipe.log_steps == 0:
            loss = self.running_loss / self.recipe.log_steps
            report.running_loss(len(self.history) + 1, self.step, loss)
            self.running.append((self.step / self._steps, loss))
            self.running_loss = 0.0

    def _end_epoch(self, report: Report) -> None:
        images = min(self._steps * self.recipe.batch_size, len(self._train_images))
        with report.doing(f"testing epoch {len(self.history) + 1}"):
            test_accuracy, test_loss = self.group.agree(self._test() if self.group.is_first else (0.0, 0.0))
        self.history.append(
            Epoch(self.epoch_loss / images, self.epoch_right / images, test_accuracy, test_loss, tuple(self.running))
        )
        self.running = []
        self.step = 0
        self.epoch_loss = self.epoch_right = self.running_loss = 0.0
        report.epoch_ends(len(self.history), self.recipe.epochs, self.history[-1])

    def _test(self) -> tuple[float, float]:
        """Accuracy and mean loss on the test images, of the weights as they would be served now. The last epoch's are
        in float32, as they will be served."""
        model = self.model
        if self.average:
            averaged: AveragedModel = self.average
            model = ImageClassifier.around(averaged.module, self.model)
        is_last = len(self.history) + 1 >= self.recipe.epochs
        with mixed_precision.autocast("float32" if is_last else self.recipe.precision, self.device):
            probabilities = predict(model, self._test_images)
        self._set_train_mode()
        labels = self.dataset.test_labels
        return accuracy(probabilities, labels).overall, mean_loss(probabilities, labels)

    def save(self, folder: Path) -> None:
        """Writes the checkpoint, where this is the first process. Raises OSError."""
        if self.group.is_first:
            checkpoints.save(self.checkpoint(), folder)
