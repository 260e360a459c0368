"""What `covey show` shows: a network with fresh weights, or a published model's file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from covey_export import image_classifier, onnx_graph
from covey_export.datasets import Dataset, Entry, find_entry
from covey_export.errors import ExportError, InvalidNetwork
from covey_export.networks import NETWORKS, Network, find_network, size
from covey_export.reports.version_folders import find_version_folder
from covey_export.training.recipe import Recipe
from covey_export.training.recipes import find_recipe
from covey_proto import layout
from covey_server.errors import RefusedModel
from covey_server.images.input_spec import InputSpec
from covey_server.inference import model_file
from covey_server.inference.engine import Engine

_FILE = Path(layout.FILE_NAME).suffix
_ALMOST_ZERO = 1e-12


@dataclass(frozen=True)
class Subject:
    """A model's bytes, and what is known of it. `title` and `source` are for people."""

    title: str
    source: str
    model: bytes
    dataset: Dataset | None  # whose images it is shown with
    recipe: Recipe | None  # of a network; a file no longer has it
    trained_parameters: int | None = None  # of a network, in training
    path: Path | None = None  # of a published model
    spec: InputSpec | None = None  # how its images are prepared


def is_file(name: str) -> bool:
    """Whether the name is a model's file or folder, and not a network."""
    return Path(name).suffix == _FILE or (Path(name).is_dir() and name not in NETWORKS)


def of_network(
    name: str, *, dataset: str | None, data_dir: Path | None, image_size: int | None, is_grey: bool
) -> Subject:
    """The network with fresh weights of seed 0, for the images of the data set if there is one.

    Raises UnknownName, InvalidNetwork, InvalidDataset, MissingDataset, ConversionFailed.
    """
    network = find_network(name)
    entry = find_entry(dataset) if dataset is not None else None
    network = _fitted(network, entry, image_size, is_grey=is_grey)
    loaded = entry.load(network.spec, data_dir) if entry is not None else None
    recipe = find_recipe(network.name, dataset=dataset)
    recipe = (
        recipe.fitted_to(loaded) if loaded else replace(recipe, mean=recipe.mean or (0.0,), std=recipe.std or (1.0,))
    )
    torch.manual_seed(0)
    try:
        model = image_classifier.build(network, len(loaded.labels) if loaded else network.classes, recipe).eval()
    except InvalidNetwork as error:
        if not network.is_own or entry is not None or image_size is not None:
            raise
        raise InvalidNetwork(
            f"{error}. No --dataset was given, so that the images were {size(network.image_shape)}; name the one that "
            f"the network is made for, as in --dataset sample (28x28 grey, comes with Covey), or say --image-size and "
            f"--grey"
        ) from error
    _keep_zeros(model)
    proto = onnx_graph.export(model, network.image_shape)
    count = sum(values.numel() for values in model.network.parameters())
    return Subject(network.name, network.source, proto.SerializeToString(), loaded, recipe, count)


def of_file(name: str, *, dataset: str | None, data_dir: Path | None) -> Subject:
    """A published model, by its file, its folder or its model's folder. Raises ExportError."""
    path = Path(name)
    if path.suffix == _FILE and not path.exists():
        raise ExportError(f"{path} does not exist; expected a model's file, such as models/lenet/1/model.onnx")
    if not path.is_file():
        path = find_version_folder(name, Path("models")) / layout.FILE_NAME
    try:
        info = model_file.describe(Engine(path))
    except RefusedModel as error:
        raise ExportError(f"{path}: {error}") from error
    loaded = None
    if dataset is not None:
        loaded = find_entry(dataset).load(info.input, data_dir)
        if loaded.image_shape != info.input.shape:
            raise ExportError(
                f"{path} takes images of {info.input.shape}, {dataset} has {loaded.image_shape}; name the data "
                f"set that the model was trained on"
            )
        loaded = loaded.in_order(info.labels)
    return Subject(str(path), "a published model", path.read_bytes(), loaded, None, path=path, spec=info.input)


def _keep_zeros(model: nn.Module) -> None:
    """Makes weights that are all zero almost zero, as in a trained network: torch leaves a bias of zeros out of the
    graph."""
    for values in (*model.parameters(), *model.buffers()):
        if values.is_floating_point() and not values.any():
            nn.init.constant_(values, _ALMOST_ZERO)


def _fitted(network: Network, entry: Entry | None, image_size: int | None, *, is_grey: bool) -> Network:
    if entry is not None and entry.image_shape is not None:
        if image_size or is_grey:
            raise ExportError(f"{entry.name} says its images' size; omit --image-size and --grey")
        return network.fitted_to(entry.name, entry.image_shape)
    height, width, channels = network.image_shape
    return network.fitted_to(
        "what is asked for", (image_size or height, image_size or width, 1 if is_grey else channels)
    )
