"""Steps per second of Covey's training loop, held against a bare PyTorch loop of the same network, optimizer, precision
and batch.

    python -m bench.training resnet9 --rounds 5 --steps 20

Images are random pixels in memory. The bare loop takes a batch of them, normalises it, runs forward and backward, and
makes the optimizer's step: nothing else. "loop" is Covey's without augmentation and averaged weights, "recipe" is all
of it. The three take turns within each round; a ratio is that of their medians. Images have their full size throughout.
Needs a quiet machine to mean anything; extra export.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from bench.rows import Goal, Row, describe_machine, make_row, write_json
from covey_export.datasets import Dataset
from covey_export.networks import NETWORKS, Network
from covey_export.option_values import TRAINING_PRECISIONS
from covey_export.reports.progress import Advance, ProgressReport
from covey_export.training import mixed_precision, optimization
from covey_export.training.augmentation import NONE
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import find_recipe
from covey_export.training.trainer import Trainer

GOAL = Goal(0.95, at_least=True)
_WARM_UP = 2  # steps that do not count, at the beginning of each turn
_CPU = torch.device("cpu")


class StepTimes(ProgressReport):
    """Notes when each step was done, and says nothing."""

    def __init__(self) -> None:
        super().__init__(Console(quiet=True))
        self.times: list[float] = []

    @contextmanager
    def progress(self, total: int, done: int) -> Iterator[Advance]:
        del total, done
        yield self

    def advance(self, loss: float) -> None:
        del loss
        self.times.append(time.perf_counter())


def random_images(network: Network, count: int) -> Dataset:
    """`count` images to train with and a few to test with, all noise."""
    random, labels = np.random.default_rng(0), tuple(map(str, range(network.classes)))
    images = random.integers(0, 256, (count + len(labels), *network.image_shape), dtype=np.uint8)
    classes = np.arange(len(images)) % len(labels)
    return Dataset("noise", labels, images[:count], classes[:count], images[count:], classes[count:], licence="")


class Comparison:
    """A network and a recipe for it, on as many images as one turn has steps."""

    def __init__(self, network: Network, recipe: Recipe, steps: int) -> None:
        """A recipe whose precision is "auto" gets the faster one, measured here."""
        images = recipe.batch_size * (steps + _WARM_UP)
        self._network = network
        self._dataset = random_images(network, images)
        epoch_recipe = replace(recipe, epochs=1, first_size=1.0, train_images=images).fitted_to(self._dataset)
        trainer = Trainer(network, self._dataset, epoch_recipe, 0, _CPU)
        trainer.show_images()
        trainer.prepare()
        trainer.choose_precision()
        self.recipe = trainer.recipe

    def bare(self) -> float:
        """Steps per second of the loop that anybody would write first."""
        trainer = Trainer(self._network, self._dataset, self.recipe, 0, _CPU)  # for its fresh network alone
        trainer.show_images()
        model, size = trainer.model.train(), self.recipe.batch_size
        optimizer = optimization.build_optimizer(model.network, self.recipe)
        images, labels = torch.tensor(self._dataset.train_images), torch.tensor(self._dataset.train_labels)
        times = []
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        for start in range(0, len(images), size):
            places = order[start : start + size]
            pixels = model.normalise(images[places])
            with mixed_precision.autocast(self.recipe.precision, _CPU):
                logits = model.network(pixels)
            loss = optimization.loss(logits, labels[places], self._network.output, self.recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            times.append(time.perf_counter())
        return _per_second(times)

    def covey(self, recipe: Recipe) -> float:
        """Steps per second of Covey's loop by that recipe, up to the last step of the epoch."""
        trainer = Trainer(self._network, self._dataset, recipe, 0, _CPU)
        trainer.show_images()
        trainer.prepare()
        report = StepTimes()
        with tempfile.TemporaryDirectory(prefix="covey-bench-") as folder:
            trainer.run(Path(folder), report)
        return _per_second(report.times)

    def measure(self, rounds: int) -> list[Row]:
        """The rows of all rounds; the bare loop is the floor of the other two."""
        plain_recipe = replace(self.recipe, augmentation=NONE, averaging=None)
        rates: dict[str, list[float]] = {"bare": [], "loop": [], "recipe": []}
        for number in range(rounds):
            print(f"bench: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            rates["bare"].append(self.bare())
            rates["loop"].append(self.covey(plain_recipe))
            rates["recipe"].append(self.covey(self.recipe))
        scenario, floors = f"training {self._network.name}", rates["bare"]
        return [
            make_row(scenario, "bare", "steps/s", floors),
            make_row(scenario, "loop", "steps/s", rates["loop"], floors, against="bare"),
            make_row(scenario, "recipe", "steps/s", rates["recipe"], floors, GOAL, against="bare"),
        ]


def _per_second(times: Sequence[float]) -> float:
    return (len(times) - _WARM_UP) / (times[-1] - times[_WARM_UP - 1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 once everything was measured, whatever the ratios are."""
    options = _parse(arguments)
    network = NETWORKS[options.network]
    recipe = find_recipe(network.name, options.recipe, network.default_dataset)
    recipe = replace(
        recipe,
        batch_size=options.batch_size or recipe.batch_size,
        precision=options.precision or recipe.precision,
    )
    torch.set_num_threads(options.threads or recipe.threads or torch.get_num_threads())
    comparison = Comparison(network, recipe, options.steps)
    rows = comparison.measure(options.rounds)
    machine = describe_machine()
    description = replace(comparison.recipe, precision="float32").describe()  # which says other precisions itself
    print(f"{network.name} in {comparison.recipe.precision}: {description}")
    print(f"{machine['cpu']}, {torch.get_num_threads()} threads, {machine['date']}, load {machine['load_average']:.1f}")
    print("| loop | steps/s | smallest to largest | against the bare loop |\n| --- | --- | --- | --- |")
    for row in rows:
        assert row.value is not None
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        print(f"| {row.figure} | {row.value:.2f} | {row.low:.2f} to {row.high:.2f} | {ratio} |")
    if options.json is not None:
        write_json(options.json, rows, machine)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__.partition("\n\n")[0])
    trained = [name for name in NETWORKS if name != "conv-demo"]
    parser.add_argument("network", nargs="?", choices=trained, default="resnet9", metavar="NETWORK")
    parser.add_argument("--recipe", default="best")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of each turn")
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--precision", choices=TRAINING_PRECISIONS, help="default: the recipe's")
    parser.add_argument("--threads", type=int, help="default: the recipe's, else torch's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.steps) < 1:
        parser.error("expected --rounds and --steps from 1 up")
    return options


if __name__ == "__main__":
    sys.exit(main())
