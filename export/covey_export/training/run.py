"""Runs one training, from fresh or given weights or from an unfinished checkpoint; a finished checkpoint is
returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from covey_export import checkpoint as checkpoints
from covey_export import devices, onnx_graph
from covey_export.checkpoint import Checkpoint
from covey_export.datasets import Dataset, Family
from covey_export.errors import ExportError, InvalidCheckpoint, InvalidDataset, TrainingInterrupted
from covey_export.networks import Network, size
from covey_export.reports.progress import ProgressReport
from covey_export.training import distributed
from covey_export.training.augmentation import NONE, Augmentation
from covey_export.training.capabilities import fit_to_network
from covey_export.training.distributed import Group
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import recipes_of
from covey_export.training.trainer import Trainer
from covey_export.training.watch import USUAL, Watch
from covey_export.weights import Weights


def train(
    network: Network,
    dataset: Dataset,
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    report: ProgressReport,
    *,
    seed: int | None = None,
    changes: Mapping[str, Any] | None = None,
    weights: Weights | None = None,
    restart: bool = False,
    watch: Watch = USUAL,
) -> Checkpoint:
    """Trains to the end, saving checkpoints in `folder`, and returns the last one.

    Resumes the checkpoint found there unless `restart`; a finished one is returned as it is, unless more epochs are
    asked for. `changes` are fields of the recipe to replace. `seed` (default 0), `changes` and `weights` (default fresh
    ones) need not be repeated when a training is resumed.

    Of several processes either all raise or none: they agree first on what decides.

    Raises InvalidCheckpoint, InvalidDataset, InvalidWeights, ConversionFailed (a user's own network, before its first
    step), TrainingFailed, TrainingInterrupted (the checkpoint is saved), OSError.
    """
    changes = changes or {}
    with distributed.joined(device) as group:
        _require_same_images(group, network, dataset)
        # Only the first process reads the checkpoint: the folder may be on its machine alone.
        reads = group.is_first and not restart and (folder / checkpoints.FILE).exists()
        checkpoint = group.agree(_try_find(folder, network, dataset, recipe.name, seed, changes) if reads else None)
        if isinstance(checkpoint, ExportError):  # raised by all, so that none waits for another
            raise checkpoint
        if checkpoint is not None and weights is not None and weights.name != checkpoint.started_from:
            raise InvalidCheckpoint(
                f"the checkpoint in {folder} began from {checkpoint.started_from or 'fresh weights'}, not from "
                f"{weights.name}; name those to go on with it, or begin anew with --restart"
            )
        if checkpoint is not None and weights is not None and checkpoint.weights_digest not in ("", weights.digest):
            raise InvalidCheckpoint(
                f"the checkpoint in {folder} began from other weights than those that {weights.name} has now; give the "
                f"same file to go on, or begin anew with --restart"
            )
        if checkpoint is not None and checkpoint.is_finished:
            report.already_trained(checkpoint.position, folder)
            return checkpoint
        if checkpoint is not None:
            report.line(f"going on from the checkpoint in {folder}: {checkpoint.position}")
            run_recipe, seed = checkpoint.recipe, checkpoint.seed
        else:
            run_recipe, seed = replace(recipe.fitted_to(dataset), **changes), seed or 0
            if dataset.family is Family.UNKNOWN and "augmentation" not in changes and recipe.augmentation != NONE:
                report.line(
                    f"note: {dataset.name} may hold images that mean something else in the mirror, as text does, so "
                    f"that none is mirrored; for photographs say --augment flip,shift=0.125"
                )
            if run_recipe.freeze and weights is None:
                raise ExportError(
                    "--freeze trains the last layer alone, on top of given layers: it goes with --weights"
                )
            if network.is_own or recipe.name not in recipes_of(network.name):  # nobody knows yet whether they fit
                run_recipe, notes = fit_to_network(network, len(dataset.labels), run_recipe, device)
                for note in notes:
                    report.line(f"note: {note}")
            if network.is_own:
                onnx_graph.require_convertible(network, len(dataset.labels), run_recipe)
        checkpoints.require_writable(folder)
        with _threads(run_recipe.threads):
            trainer = Trainer(network, dataset, run_recipe, seed, device, group, watch)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            else:
                if weights is None:
                    trainer.show_images()
                else:
                    trainer.started_from, trainer.weights_digest = weights.name, weights.digest
                    classes = len(dataset.labels)
                    report.line(weights.load_into(trainer.model.network, classes, whole=not run_recipe.epochs))
                trainer.prepare()
            with report.doing("measuring which precision is faster"):
                precision = trainer.choose_precision()
            if run_recipe.precision == "auto" and trainer.recipe.epochs:
                trainer.save(folder)  # timing chose: whoever goes on must not choose again
            report.training_begins(
                network, dataset, trainer.recipe, trainer.model.network, devices.describe(device, group.size), precision
            )
            is_finished = trainer.run(folder, report)
        trained = trainer.checkpoint()
        if not is_finished:
            again = "the same command, without --restart," if restart else "the same command"
            position = "the end of training" if trained.is_finished else trained.position
            raise TrainingInterrupted(f"stopped at {position}; {again} goes on from {folder}")
        return trained


def _require_same_images(group: Group, network: Network, dataset: Dataset) -> None:
    """Raises InvalidDataset, in all processes, where one of them would train on other images than the first."""
    description = (
        f"{network.name} on {dataset.name}, {len(dataset.train_images):,} + {len(dataset.test_images):,} images of "
        f"{size(network.image_shape)} by {network.resize.value} (crop {network.crop}), SHA-256 {dataset.digest}"
    )
    first = group.agree(description)
    others = int(group.total(float(description != first))[0])
    if others:
        raise InvalidDataset(
            f"{others} of {group.size} processes would train on other images than the first, which has {first}; here "
            f"is {description}. Provide the same images on every machine; where a training goes on, say --image-size, "
            f"--resize, --crop and --grey as when it began: only the first machine has the checkpoint that knows them"
        )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    previous = torch.get_num_threads()
    torch.set_num_threads(count or previous)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def _try_find(
    folder: Path, network: Network, dataset: Dataset, recipe_name: str, seed: int | None, changes: Mapping[str, Any]
) -> Checkpoint | ExportError:
    try:
        return _find(folder, network, dataset, recipe_name, seed, changes)
    except ExportError as error:
        return error


def _find(
    folder: Path, network: Network, dataset: Dataset, recipe_name: str, seed: int | None, changes: Mapping[str, Any]
) -> Checkpoint:
    """The checkpoint to resume. Raises InvalidCheckpoint where it is of another training."""
    checkpoint = checkpoints.load(folder)
    checkpoint.require_match(network, dataset)
    again = "name that one to go on with it, or begin anew with --restart"
    if seed not in (None, checkpoint.seed):
        raise InvalidCheckpoint(
            f"the checkpoint in {folder} was begun with seed {checkpoint.seed}, not {seed}; {again}"
        )
    if checkpoint.recipe.name != recipe_name:
        raise InvalidCheckpoint(
            f"the checkpoint in {folder} was begun with recipe {checkpoint.recipe.name!r}, not {recipe_name!r}; {again}"
        )
    for field, value in changes.items():
        earlier_value = getattr(checkpoint.recipe, field)
        # No step depends on how many follow, unless the schedule does.
        may_differ = field == "epochs" and checkpoint.recipe.schedule == "constant" and value > len(checkpoint.history)
        is_settled = field == "precision" and value == "auto"  # measured when the training began
        if value != earlier_value and not may_differ and not is_settled:
            raise InvalidCheckpoint(
                f"the checkpoint in {folder} was begun with {field.replace('_', ' ')} {_text(earlier_value)}, "
                f"not {_text(value)}; {again}"
            )
    return replace(
        checkpoint, recipe=replace(checkpoint.recipe, epochs=changes.get("epochs", checkpoint.recipe.epochs))
    )


def _text(value: object) -> str:
    return value.describe() if isinstance(value, Augmentation) else str(value)
