"""A checkpoint of PyTorch's and the network that it belongs to: built for as many classes as the checkpoint has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from covey_export import checkpoint, head, weights
from covey_export.errors import ExportError, InvalidNetwork
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources import contract, timm_config, torch_module
from covey_export.importing.sources.contract import Contract
from covey_export.importing.sources.onnx_file import OnnxFile
from covey_export.networks import Task, own, registry, timm_networks, torchvision_networks
from covey_export.weights import Weights
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.wording import listed

_SIZE = (224, 224)
_PROBE = 1013  # classes that no network has by itself
_COSTLY = (
    "If it was trained otherwise, many answers are wrong without any error: say --like, or --mean, --std and --resize; "
    "--check DIR compares them on labelled images"
)


def read(path: Path, name: str, size: tuple[int, int] | None) -> tuple[OnnxFile, Contract]:
    """The file, or Covey's own checkpoint folder, `path` with the network of that name; `size` is (height, width).

    Raises InvalidWeights where the file is no checkpoint or not of the network, UnknownName, InvalidNetwork and
    InvalidSource.
    """
    given = weights.load(path)
    own.require_no_file(name)
    said = _contract(name, path, given, size)
    height, width = size or said.size or _SIZE
    if size is None and said.size is None:
        note = f"no --image-size was given; assumed is {height}x{width}"
        said = replace(said, notes=(*said.notes, note))
    drawn = _drawn(name, Task((height, width, 3), _PROBE))
    shape, classes = (height, width, _channels(drawn, given)), _classes(drawn, given)
    if shape[2] == 1 and said.preset is not None and len(said.preset.mean) + len(said.preset.std) > 2:
        said = replace(said, preset=None)
    network = _build(name, Task(shape, classes))
    left_out = given.tensors_for(network)[1]
    given.load_into(network, classes, whole=True)
    if given.part:
        said = replace(said, notes=(*said.notes, f"of {given.name}{given.part}".replace(": its", " is taken its", 1)))
    if left_out:
        said = replace(said, notes=(*said.notes, f"left out, as no part of the network: {listed(left_out)}"))
    said = _with_labels(said, name, path, given, classes)
    file = torch_module.export(network, path, [_file(path)], shape, name, _kind(name), "input")
    return file, said


def _file(path: Path) -> Path:
    return path / checkpoint.FILE if path.is_dir() else path


def _kind(name: str) -> str:
    return "timm" if name.startswith(timm_networks.PREFIX) else "torch"


def _drawn(name: str, task: Task) -> nn.Module:
    """The network for its names and shapes, without numbers where it can be built so."""
    try:
        with torch.device("meta"):
            return _build(name, task)
    except InvalidNetwork:
        return _build(name, task)


def _channels(drawn: nn.Module, given: Weights) -> int:
    """Those that the first convolution takes."""
    tensors, _ = given.tensors_for(drawn)
    for name, layer in drawn.named_modules():
        if isinstance(layer, nn.Conv2d):
            first = tensors.get(f"{name}.weight", layer.weight)
            return 1 if first.ndim == 4 and first.shape[1] == 1 else 3
    return 3


def _classes(drawn: nn.Module, given: Weights) -> int:
    """Those of the last layer, of the network that was drawn for _PROBE classes."""
    try:
        last = head.find(drawn, _PROBE)
    except ExportError:  # the network knows its classes by itself
        layers = [name for name, layer in drawn.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        last = layers[-1] if layers else ""
    tensors, _ = given.tensors_for(drawn)
    if (matrix := tensors.get(f"{last}.weight")) is not None:
        return int(matrix.shape[0])
    return next((int(tensor.shape[0]) for tensor in reversed(tensors.values()) if tensor.ndim in (2, 4)), _PROBE)


def _build(name: str, task: Task) -> nn.Module:
    height, width, channels = task.image_shape
    if name.startswith(timm_networks.PREFIX):
        bare = name.removeprefix(timm_networks.PREFIX)
        options = timm_networks.size_options(bare, height, width)
        return timm_networks.make(bare, task.classes, channels, **options)
    if ":" in name and not name.startswith(torchvision_networks.PREFIX):
        return own.build_untried(name, task)
    try:
        return registry.find_network(name).build(task)
    except InvalidNetwork as error:
        raise InvalidNetwork(f"{error}; say another --image-size if that is wrong") from error


def _contract(name: str, path: Path, given: Weights, size: tuple[int, int] | None) -> Contract:
    """How images are prepared, as far as the network's library or the checkpoint says."""
    if given.mean is not None and given.std is not None:
        return Contract(f"the checkpoint {path.name}", preset=contract.preset(given.mean, given.std))
    unsaid = f"{path.name} does not say how its images were prepared; assumed is what"
    if (bare := name.removeprefix(torchvision_networks.PREFIX)) != name:
        found = torchvision_networks.preparation(bare, torch_module.digest([_file(path)]))
        said = Contract(
            f"torchvision's {found.name}",
            f"resize_size {found.resize_to}, crop_size {found.size}",
            (found.size, found.size),
            contract.preset(found.mean, found.std),
            Resizing(Resize.SHORTER_SIDE, found.resize_to, Interpolation(found.interpolation), background=""),
        )
        return said if found.is_known else replace(said, assumption=f"{unsaid} {said.origin} need. {_COSTLY}")
    if (bare := name.removeprefix(timm_networks.PREFIX)) != name:
        settings = timm_networks.pretrained_cfg(bare)
        said = timm_config.read(settings, f"timm's settings of {bare}", size)
        return replace(said, assumption=f"{unsaid} timm does for {bare}. {_COSTLY}")
    return Contract()


def _with_labels(said: Contract, name: str, path: Path, given: Weights, classes: int) -> Contract:
    """The labels that the checkpoint has, or those of ImageNet where there are as many."""
    found, origin = given.labels, f"the checkpoint {path.name}"
    if found is None and name.startswith(torchvision_networks.PREFIX):
        found = torchvision_networks.preparation(name.removeprefix(torchvision_networks.PREFIX), "").labels
        origin = f"torchvision's weights of {name}, which have as many outputs"
    elif found is None and name.startswith(timm_networks.PREFIX):
        settings = timm_networks.pretrained_cfg(name.removeprefix(timm_networks.PREFIX))
        found = tuple(timm_networks.imagenet_labels(settings, classes) or ())
        origin = f"timm's list of ImageNet, which has {classes:,} classes"
    if found is None or len(found) != classes:
        return said
    said = contract.with_labels(said, found, origin)
    if given.labels is not None or not said.assumption:
        return said
    note = (
        f"no --labels were given; assumed are ImageNet's, as there are {classes:,} outputs. If the network has others, "
        f"every answer has a wrong label"
    )
    return replace(said, labels_notes=(note, *said.labels_notes))
