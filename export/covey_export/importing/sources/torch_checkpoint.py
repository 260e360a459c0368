"""Reads a PyTorch checkpoint and builds its network for as many classes as the checkpoint has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from covey_export import checkpoint, head, weights
from covey_export.errors import ExportError, InvalidNetwork
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources import timm_config, torch_module
from covey_export.importing.sources.contract import Contract, preset_of
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
    """Reads the file or Covey's own checkpoint folder `path`, with the network of that name; `size` is (height, width).

    Raises InvalidWeights where the file is no checkpoint or not of the network, UnknownName, InvalidNetwork and
    InvalidSource.
    """
    checkpoint_weights = weights.load(path)
    own.require_no_file(name)
    contract = _contract(name, path, checkpoint_weights, size)
    height, width = size or contract.size or _SIZE
    if size is None and contract.size is None:
        note = f"no --image-size was given; assumed is {height}x{width}"
        contract = replace(contract, notes=(*contract.notes, note))
    probe = _build_probe(name, Task((height, width, 3), _PROBE))
    shape, classes = (height, width, _channels(probe, checkpoint_weights)), _classes(probe, checkpoint_weights)
    if shape[2] == 1 and contract.preset is not None and len(contract.preset.mean) + len(contract.preset.std) > 2:
        contract = replace(contract, preset=None)
    network = _build(name, Task(shape, classes))
    left_out = checkpoint_weights.tensors_for(network)[1]
    checkpoint_weights.load_into(network, classes, whole=True)
    if checkpoint_weights.part:
        contract = replace(
            contract,
            notes=(
                *contract.notes,
                f"of {checkpoint_weights.name}{checkpoint_weights.part}".replace(": its", " is taken its", 1),
            ),
        )
    if left_out:
        contract = replace(
            contract, notes=(*contract.notes, f"left out, as no part of the network: {listed(left_out)}")
        )
    contract = _with_labels(contract, name, path, checkpoint_weights, classes)
    file = torch_module.export(network, path, [_file(path)], shape, name, _kind(name), "input")
    return file, contract


def _file(path: Path) -> Path:
    return path / checkpoint.FILE if path.is_dir() else path


def _kind(name: str) -> str:
    return "timm" if name.startswith(timm_networks.PREFIX) else "torch"


def _build_probe(name: str, task: Task) -> nn.Module:
    """The network for its names and shapes, without numbers where it can be built so."""
    try:
        with torch.device("meta"):
            return _build(name, task)
    except InvalidNetwork:
        return _build(name, task)


def _channels(probe: nn.Module, checkpoint_weights: Weights) -> int:
    """The channels that the first convolution takes."""
    tensors, _ = checkpoint_weights.tensors_for(probe)
    for name, layer in probe.named_modules():
        if isinstance(layer, nn.Conv2d):
            first = tensors.get(f"{name}.weight", layer.weight)
            return 1 if first.ndim == 4 and first.shape[1] == 1 else 3
    return 3


def _classes(probe: nn.Module, checkpoint_weights: Weights) -> int:
    """The classes of the last layer; the network was built for _PROBE classes."""
    try:
        last = head.find(probe, _PROBE)
    except ExportError:  # the network knows its classes by itself
        layers = [name for name, layer in probe.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        last = layers[-1] if layers else ""
    tensors, _ = checkpoint_weights.tensors_for(probe)
    if (matrix := tensors.get(f"{last}.weight")) is not None:
        return int(matrix.shape[0])
    return next((int(tensor.shape[0]) for tensor in reversed(tensors.values()) if tensor.ndim in (2, 4)), _PROBE)


def _build(name: str, task: Task) -> nn.Module:
    height, width, channels = task.image_shape
    if name.startswith(timm_networks.PREFIX):
        library_name = name.removeprefix(timm_networks.PREFIX)
        options = timm_networks.size_options(library_name, height, width)
        return timm_networks.make(library_name, task.classes, channels, **options)
    if ":" in name and not name.startswith(torchvision_networks.PREFIX):
        return own.build_untried(name, task)
    try:
        return registry.find_network(name).build(task)
    except InvalidNetwork as error:
        raise InvalidNetwork(f"{error}; say another --image-size if that is wrong") from error


def _contract(name: str, path: Path, checkpoint_weights: Weights, size: tuple[int, int] | None) -> Contract:
    """How images are prepared, as far as the network's library or the checkpoint says."""
    if checkpoint_weights.mean is not None and checkpoint_weights.std is not None:
        return Contract(
            f"the checkpoint {path.name}", preset=preset_of(checkpoint_weights.mean, checkpoint_weights.std)
        )
    reason = f"{path.name} does not say how its images were prepared; assumed is what"
    if (library_name := name.removeprefix(torchvision_networks.PREFIX)) != name:
        preparation = torchvision_networks.preparation(library_name, torch_module.digest([_file(path)]))
        contract = Contract(
            f"torchvision's {preparation.name}",
            f"resize_size {preparation.resize_to}, crop_size {preparation.size}",
            (preparation.size, preparation.size),
            preset_of(preparation.mean, preparation.std),
            Resizing(
                Resize.SHORTER_SIDE, preparation.resize_to, Interpolation(preparation.interpolation), background=""
            ),
        )
        return (
            contract
            if preparation.is_known
            else replace(contract, assumption=f"{reason} {contract.origin} need. {_COSTLY}")
        )
    if (library_name := name.removeprefix(timm_networks.PREFIX)) != name:
        settings = timm_networks.pretrained_cfg(library_name)
        contract = timm_config.read(settings, f"timm's settings of {library_name}", size)
        return replace(contract, assumption=f"{reason} timm does for {library_name}. {_COSTLY}")
    return Contract()


def _with_labels(contract: Contract, name: str, path: Path, checkpoint_weights: Weights, classes: int) -> Contract:
    """The labels that the checkpoint has, or those of ImageNet where there are as many."""
    labels, origin = checkpoint_weights.labels, f"the checkpoint {path.name}"
    if labels is None and name.startswith(torchvision_networks.PREFIX):
        labels = torchvision_networks.preparation(name.removeprefix(torchvision_networks.PREFIX), "").labels
        origin = f"torchvision's weights of {name}, which have as many outputs"
    elif labels is None and name.startswith(timm_networks.PREFIX):
        settings = timm_networks.pretrained_cfg(name.removeprefix(timm_networks.PREFIX))
        labels = tuple(timm_networks.imagenet_labels(settings, classes) or ())
        origin = f"timm's list of ImageNet, which has {classes:,} classes"
    if labels is None or len(labels) != classes:
        return contract
    contract = contract.with_labels(labels, origin)
    if checkpoint_weights.labels is not None or not contract.assumption:
        return contract
    note = (
        f"no --labels were given; assumed are ImageNet's, as there are {classes:,} outputs. If the network has others, "
        f"every answer has a wrong label"
    )
    return replace(contract, labels_notes=(note, *contract.labels_notes))
