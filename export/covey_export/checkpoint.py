"""Owns the file that training writes: enough to resume after any step, and all that conversion needs."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from covey_export.datasets import folder as image_folders
from covey_export.datasets.dataset import Dataset
from covey_export.errors import InvalidCheckpoint
from covey_export.networks import ImageShape, Network, size
from covey_export.training import averaging
from covey_export.training.recipe import Recipe
from covey_proto import atomic_files
from covey_proto.colours import WHITE
from covey_proto.resize import Resize
from covey_proto.wording import listed, plural

FILE = "checkpoint.pt"


@dataclass(frozen=True)
class Epoch:
    """What one finished epoch came to: the mean loss and the accuracy in training (while the weights changed, on
    augmented images), and the accuracy and mean loss on the test set. Accuracies are 0 to 1.

    `running` are losses within the epoch: (share of the epoch, mean loss over the steps since the one before).
    `clean_accuracy` is that on training images without dropout and augmentation, `norm` the length of all weights as
    one vector. What was not looked at is None, see training.watch. `seconds` of training had passed at its end.
    """

    loss: float
    train_accuracy: float
    test_accuracy: float | None
    test_loss: float | None = None  # of checkpoints that were written before it was measured
    running: tuple[tuple[float, float], ...] = ()
    # Not part of what a model is made from, see Checkpoint.digest.
    clean_accuracy: float | None = field(default=None, repr=False)
    norm: float | None = field(default=None, repr=False)
    seconds: float | None = field(default=None, repr=False, compare=False)  # differs from run to run

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Epoch:
        """The epoch whose `dataclasses.asdict` gave `fields`, through JSON or not. Raises TypeError."""
        running = tuple((float(share), float(loss)) for share, loss in fields.get("running", ()))
        return cls(**{**fields, "running": running})


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after `len(history)` whole epochs and `step` steps of the next one."""

    network: str
    dataset: str
    image_shape: ImageShape
    resize: str  # how encoded images come to that shape: a value of covey_server.images.pixels.Resize
    crop: float
    background: str  # under transparent pixels, "#rrggbb"; empty: alpha was dropped
    labels: tuple[str, ...]
    train_images: int
    images_digest: str  # of all images and labels, see Dataset.digest
    recipe: Recipe
    seed: int
    started_from: str  # where the first weights came from; empty: fresh ones
    history: tuple[Epoch, ...]
    step: int
    epoch_loss: float  # sum over the images of the epoch that is under way
    epoch_right: float  # how many of its images got their class
    running_loss: float  # sum over the steps since it was last said
    seconds: float  # of training so far
    model: dict[str, torch.Tensor]  # of the network alone
    average: dict[str, torch.Tensor] | None  # the state of their moving average, where the recipe has one
    optimizer: dict[str, Any] | None  # None where nothing is learned
    running: tuple[tuple[float, float], ...] = ()  # of the epoch that is under way, see Epoch
    weights_digest: str = ""  # of the first weights, where they were given; earlier versions did not keep it
    kept_images: int = 0  # training images that it was not trained with, see Dataset.keeping_validation

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint whose file holds `fields`. Raises KeyError or TypeError where they are not all there."""
        recipe = Recipe.from_fields(fields["recipe"])
        history = tuple(Epoch.from_fields(epoch) for epoch in fields["history"])
        # Earlier versions dropped alpha; published data sets have none, so theirs loses nothing.
        earlier = "" if fields["dataset"].startswith(image_folders.PREFIX) else WHITE
        return cls(**{"background": earlier, **fields, "recipe": recipe, "history": history})

    @property
    def trained_weights(self) -> dict[str, torch.Tensor]:
        """What is tested and served."""
        return averaging.weights(self.average) if self.average else self.model

    @property
    def digest(self) -> str:
        """The SHA-256 of all that a model is made from: two trainings that came to the same have the same."""
        facts = (
            *(self.network, self.dataset, self.image_shape, self.resize, self.crop, self.labels, self.images_digest),
            *(self.recipe, self.seed, self.started_from, self.history, *filter(None, (self.background,))),
        )
        found = hashlib.sha256(repr(facts).encode())
        add_tensors(found, self.trained_weights)
        return found.hexdigest()

    @property
    def is_finished(self) -> bool:
        return len(self.history) >= self.recipe.epochs

    @property
    def position(self) -> str:
        """Where training stands, for people."""
        if self.is_finished:
            return plural(len(self.history), "epoch")
        return f"epoch {len(self.history) + 1} of {self.recipe.epochs}, after step {self.step:,}"

    def of_same_images(self, network: Network) -> Network:
        """The network for images of this training's size and policy."""
        return dataclasses.replace(
            network,
            image_shape=self.image_shape,
            resize=Resize(self.resize),
            crop=self.crop,
            background=self.background,
        )

    def load_weights_into(self, module: nn.Module, *, trained: bool) -> None:
        """The weights to be served if `trained`, else those to resume training with. Raises InvalidCheckpoint."""
        try:
            module.load_state_dict(self.trained_weights if trained else self.model)
        except RuntimeError as error:
            raise InvalidCheckpoint(
                f"the weights in the checkpoint are not those of {self.network} as it is built now: the network has "
                f"changed since; train anew with --restart, or name another folder with --checkpoint"
            ) from error

    def require_match(self, network: Network, dataset: Dataset) -> None:
        """Raises InvalidCheckpoint where this is of another network, data set, image policy or label order."""
        if (self.network, self.dataset) != (network.name, dataset.name):
            raise InvalidCheckpoint(
                f"the checkpoint is of {self.network} on {self.dataset}, not of {network.name} on {dataset.name}; "
                f"name another folder with --checkpoint"
            )
        if self.of_same_images(network) != network:
            raise InvalidCheckpoint(
                f"the checkpoint is of {network.name} for images of {_policy(self.of_same_images(network))}, "
                f"not {_policy(network)}; name another folder with --checkpoint, or train anew with --restart"
            )
        if self.labels != dataset.labels and set(self.labels) == set(dataset.labels):
            raise InvalidCheckpoint(
                f"the outputs of the checkpoint's network are {listed(self.labels)}, in this order; asked for is the "
                f"order {listed(dataset.labels)}; give the --labels of the first time, name another folder with "
                f"--checkpoint, or train anew with --restart"
            )
        if dataset.kept_images and not self.kept_images:
            raise InvalidCheckpoint(
                "the checkpoint was trained with all training images, so that none are left to fit a number to; train "
                "anew with --keep-validation --restart, or name another folder with --checkpoint"
            )
        if self.images_digest != dataset.digest:
            raise InvalidCheckpoint(
                f"the checkpoint was trained on {plural(self.train_images, 'image')} of "
                f"{plural(len(self.labels), 'class', 'classes')}, "
                f"{dataset.name} now has {len(dataset.train_images):,} of {len(dataset.labels)}, "
                f"and not the same ones; provide the same images (--unreadable skip again, if it was said), or train "
                f"anew with --restart"
            )


def add_tensors(digest: hashlib._Hash, tensors: Mapping[str, torch.Tensor]) -> None:
    """Adds tensors to a digest: their names, types, shapes and bytes, in their order."""
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())


def default_folder(network: str, dataset: str, recipe: str, parent: Path = Path("checkpoints")) -> Path:
    """`<parent>/<network>-<dataset>-<recipe>`."""
    return parent / f"{network}-{dataset}-{recipe}".replace(":", "-").replace("/", "-")


def _policy(network: Network) -> str:
    on = (
        "" if network.background == WHITE else f", on {network.background}" if network.background else ", alpha dropped"
    )
    return f"{size(network.image_shape)} by {network.resize.value} (crop {network.crop:g}{on})"


def require_writable(folder: Path) -> None:
    """Makes the folder, and raises OSError where nothing can be written there: now, not after an hour's epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"the checkpoint's folder {folder} cannot be written to; name another with --checkpoints")


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Writes the folder's checkpoint, replacing the one before in one step. Raises OSError."""
    fields = {field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)}
    fields["recipe"] = dataclasses.asdict(checkpoint.recipe)
    fields["history"] = [dataclasses.asdict(epoch) for epoch in checkpoint.history]
    buffer = io.BytesIO()
    torch.save(fields, buffer)
    atomic_files.write_bytes(folder / FILE, buffer.getvalue())


def load(folder: Path) -> Checkpoint:
    """The folder's checkpoint, its tensors on the CPU. Raises InvalidCheckpoint.

    Only tensors and plain values are read (`weights_only`): a stranger's checkpoint runs no code.
    """
    path = folder / FILE
    if not path.is_file():
        raise InvalidCheckpoint(f"{path} does not exist; train the network first (covey train)")
    content = io.BytesIO(path.read_bytes())
    try:
        return Checkpoint.from_fields(torch.load(content, map_location="cpu", weights_only=True))
    except Exception as error:
        raise InvalidCheckpoint(
            f"{path} is no checkpoint of this version of Covey, or it is damaged "
            f"({content.getbuffer().nbytes:,} bytes); train anew with `covey train ... --restart`"
        ) from error


def load_finished(folder: Path) -> Checkpoint:
    """As `load`, for a training that came to its end. Raises InvalidCheckpoint for one that did not."""
    checkpoint = load(folder)
    if not checkpoint.is_finished:
        raise InvalidCheckpoint(
            f"{folder / FILE}: training is not finished ({checkpoint.position}); "
            f"`covey train {checkpoint.network}` with the same options goes on with it"
        )
    return checkpoint
