"""The plan of one variant: its network, data set, recipe and what its options change of it."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from covey_export import devices
from covey_export.cli import recipe_changes
from covey_export.datasets import Dataset, Entry, find_entry
from covey_export.errors import ExportError
from covey_export.networks import Network, Task, find_network
from covey_export.reports.progress import ProgressReport
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import find_recipe
from covey_export.training.run import train
from covey_export.training.watch import Watch
from covey_export.trials import recipes
from covey_export.trials.trial import Trial
from covey_export.trials.variants import Variant

_CLEAN_IMAGES = 5_000  # of the training set, classified without dropout after each epoch


@dataclass(frozen=True)
class Plan:
    """One variant, ready to be trained.

    `asked` is the recipe as its options name it, `recipe_network` the network whose recipes are meant, and `changes`
    are the recipe's values that the variant's options change.
    """

    variant: Variant
    network: Network
    entry: Entry
    recipe_network: Network
    asked: str | None
    recipe: Recipe
    changes: Mapping[str, Any]

    @classmethod
    def of(cls, variant: Variant, options: argparse.Namespace, recipe_network: Network) -> Plan:
        """The plan for options of `covey train`; its recipe is one of `recipe_network`.

        Raises ExportError and its kinds, also where the network cannot be built: errors are found before hours of work
        on other variants.
        """
        network = find_network(options.network)
        entry = find_entry(options.dataset or network.default_dataset)
        if entry.image_shape is not None:
            network = network.fitted_to(entry.name, entry.image_shape)
        recipe = recipes.find(network, recipe_network, options.recipe, entry.name)
        for each in (network, recipe_network):
            if not find_recipe(each.name).epochs:
                raise ExportError(f"{each.name} has nothing to learn, so that there is nothing to try")
        changes = recipe_changes.find(options, recipe, network)
        network.build(Task(network.image_shape, network.classes, changes.get("dropout")))
        return cls(variant, network, entry, recipe_network, options.recipe, recipe, changes)

    def train(
        self,
        load: Callable[[Plan], Dataset],
        folder: Path,
        seeds: int,
        device: str,
        report: ProgressReport,
        *,
        test_once: bool,
    ) -> Trial:
        """Trains once for each seed, with checkpoints below `folder`; finished trainings are taken as they are."""
        dataset = load(self)
        module = self.network.build(Task(self.network.image_shape, len(dataset.labels), self.changes.get("dropout")))
        name = f"{self.network.model_name}-{self.variant.slug}-{self._digest(module, dataset)}"
        checkpoints = tuple(
            train(
                self.network,
                dataset,
                self.recipe,
                folder / f"{name}-{seed}",
                devices.choose(device),
                report,
                seed=seed,
                changes=self.changes,
                watch=Watch(test_once=test_once, train_images=_CLEAN_IMAGES),
            )
            for seed in range(seeds)
        )
        return Trial(self.variant, checkpoints, module)

    def _digest(self, module: nn.Module, dataset: Dataset) -> str:
        """Eight letters that differ where a training would: by its recipe, its images, or the source of the network."""
        recipe = dataclasses.replace(self.recipe.fitted_to(dataset), **self.changes)
        source = inspect.getsourcefile(type(module)) if self.network.is_own else None
        code = Path(source).read_text(encoding="utf-8") if source else ""
        return hashlib.sha256(repr((recipe, dataset.digest, str(module), code)).encode()).hexdigest()[:8]
