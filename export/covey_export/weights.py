"""Weights to start a training from, in place of random ones: a checkpoint of Covey's, a PyTorch state dict, or
torchvision's own. Only tensors and plain values are read (`weights_only`): a stranger's file runs no code.
"""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from covey_export import checkpoint as checkpoints
from covey_export import head, weights_files
from covey_export.checkpoint import Checkpoint
from covey_export.errors import InvalidWeights
from covey_export.networks import torchvision_networks
from covey_proto.wording import listed, plural

TORCHVISION = "torchvision"  # in place of a file: the weights that torchvision has for the network

# What DistributedDataParallel, torch.compile, Lightning and others put before each name.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
# What torchmetrics counts with, which Lightning saves among a network's tensors.
_METRIC_STATES = ("tp", "fp", "tn", "fn", "confmat", "correct", "total", "_update_count")
_TRAINING_ONLY = ("aux1.", "aux2.", "AuxLogits.")  # GoogLeNet's and Inception's heads that are not built here
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d\.)")  # a name may not hold a dot since torch 0.4
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors by name; `name` says where they come from, for people and for the model's metadata.

    `mean` and `std` are the normalisation that they were trained with, one number a channel, where that is known:
    a training that starts from them should keep it.
    """

    name: str
    tensors: Mapping[str, torch.Tensor]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] | None = None  # in the order of the last layer's outputs, where that is known
    part: str = ""  # which of several state dicts of the file they are
    wrappers: tuple[str, ...] = ()  # that stood before each name, outermost first

    @property
    def digest(self) -> str:
        """The SHA-256 of all tensors."""
        found = hashlib.sha256()
        checkpoints.add_tensors(found, self.tensors)
        return found.hexdigest()

    def order_of(self, classes: tuple[str, ...], *, named: bool, whole: bool) -> tuple[str, ...]:
        """The labels by which a network with these weights has to be trained on a data set of these classes.

        `named`: the user said what the outputs are. `whole`: the last layer is kept, be it for more classes.
        """
        labels = self.labels
        if labels is None:
            return classes
        is_theirs = named or set(labels) == set(classes) or (whole and set(classes) <= set(labels))
        return labels if is_theirs else classes

    def load_into(self, network: nn.Module, classes: int, *, whole: bool = False) -> str:
        """Fills the network, and says what came of it. A last layer for other classes keeps its fresh weights, or,
        where the `whole` network is wanted, is refused.

        Raises InvalidWeights, with the tensors that do not fit.
        """
        last = "" if whole else head.find(network, classes) + "."
        wanted = network.state_dict()
        given, left_out = self._tensors_for(wanted)
        replaced = [
            name
            for name, tensor in given.items()
            if name.startswith(last) and name in wanted and _differ_in_classes_alone(tensor, wanted[name])
        ]
        problems = [
            *(
                f"{name}: {tuple(given[name].shape)}, the network has {tuple(tensor.shape)}"
                for name, tensor in wanted.items()
                if name in given and name not in replaced and given[name].shape != tensor.shape
            ),
            # Batch normalisation did not count its batches before torch 0.4.1; nothing depends on it.
            *(f"{name}: missing" for name in wanted if name not in given and not name.endswith(".num_batches_tracked")),
            *(f"{name}: the network has no such tensor" for name in given if name not in wanted),
        ]
        if problems:
            raise InvalidWeights(_message(self.name, problems, list(given), list(wanted)))
        if replaced and whole:
            raise InvalidWeights(
                f"the last layer in {self.name} gives {given[replaced[0]].shape[0]:,} classes, there are {classes:,} "
                f"here; name all of them with --labels, in the order of the outputs, or train with --epochs 1 or more"
            )
        taken = {name: tensor for name, tensor in given.items() if name not in replaced}
        self._require_numbers(taken, network)
        wanted.update(taken)
        network.load_state_dict(wanted)  # not a dict of our own: it holds the versions of the modules too
        said = f"begins from {self.name}{self.part}"
        if replaced:
            said += "; its last layer is for other classes and starts anew"
        return f"{said}; left out what is no part of the network: {listed(left_out)}" if left_out else said

    def tensors_for(self, network: nn.Module) -> tuple[dict[str, torch.Tensor], list[str]]:
        """Those that are the network's, by its names, whatever their shapes; and the names of the others."""
        return self._tensors_for(network.state_dict())

    def require_outputs(self, labels: Sequence[str], named_by: str) -> None:
        """Raises InvalidWeights where no layer gives one number for each of the labels that `named_by` names."""
        matrices = [tensor for tensor in self.tensors.values() if tensor.ndim > 1]
        # A layer has a row for each output; a matrix that the network multiplies by itself, a column.
        if not any(len(labels) in (each.shape[0], each.shape[1] if each.ndim == 2 else 0) for each in matrices):
            raise InvalidWeights(
                f"{named_by} names {len(labels):,} classes, the last layer in {self.name} gives "
                f"{matrices[-1].shape[0] if matrices else 0:,}; expected one label for each output, in their order"
            )

    def _tensors_for(self, wanted: Mapping[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[str]]:
        """The tensors by the names of this network, and the names of those that are none of its: metrics, and what
        stands beside the module that holds the network."""
        # It may be within modules that are called as wrappers are, and other modules may stand beside it.
        prefixes = ["", *("".join(self.wrappers[start:]) for start in range(len(self.wrappers)))]
        prefixes.append("".join(_wrappers_of(wanted)))
        candidates = [{prefix + name: name for name in self.tensors} for prefix in prefixes]
        for prefix in _prefixes_of_some(self.tensors):
            inner = [name for name in self.tensors if name.startswith(prefix)]
            candidates.append({name.removeprefix(prefix): name for name in inner})
        names = max(candidates, key=lambda candidate: len(candidate.keys() & wanted.keys()))
        own = {
            name
            for name in names
            if name in wanted or not (name.startswith(_TRAINING_ONLY) or name.rpartition(".")[2] in _METRIC_STATES)
        }
        beside = set(self.tensors) - {names[name] for name in own}
        given = {name: self.tensors[given] for name, given in names.items() if name in own}
        return given, sorted(name for name in beside if not name.startswith(_TRAINING_ONLY))

    def _require_numbers(self, taken: Mapping[str, torch.Tensor], network: nn.Module) -> None:
        """Raises InvalidWeights for NaN and infinity. Other buffers may hold them on purpose, as masks do."""
        learned = {name for name, _ in network.named_parameters()}
        broken = [
            name
            for name, tensor in taken.items()
            if (name in learned or name.endswith(("running_mean", "running_var"))) and not tensor.isfinite().all()
        ]
        if broken:
            raise InvalidWeights(
                f"{self.name} holds NaN or infinite numbers in {plural(len(broken), 'tensor')}, {broken[0]} first; "
                f"expected finite ones. Their training has diverged: take an earlier checkpoint of it"
            )


def load(path: Path) -> Weights:
    """The weights in a file of PyTorch's, or in a folder that holds a checkpoint of Covey's.

    Raises InvalidWeights where there is none, or where it holds something else.
    """
    file = path / checkpoints.FILE if path.is_dir() else path
    if not file.is_file():
        raise InvalidWeights(
            f"there are no weights in {path}; expected a file of torch.save or a folder with a {checkpoints.FILE}"
        )
    content = weights_files.read(file)
    if isinstance(content, dict) and content.keys() >= {"recipe", "history", "model"}:
        return _of_checkpoint(content, file)
    tensors, part = weights_files.state_dict(content, file)
    return Weights(file.name, _named(tensors), part=part, wrappers=_wrappers_of(tensors))


def download(network_name: str) -> Weights:
    """torchvision's best weights for one of its networks, kept in PyTorch's own cache ($TORCH_HOME) once they came.

    Raises InvalidWeights where they cannot be had.
    """
    if not network_name.startswith(torchvision_networks.PREFIX):
        raise InvalidWeights(
            f"--weights {TORCHVISION} is for networks of torchvision's (torchvision:NAME), not for {network_name}; "
            f"name a file of weights"
        )
    source = torchvision_networks.default_weights(network_name)
    try:
        tensors = source.read()
    except (
        OSError,
        RuntimeError,
        http.client.HTTPException,
    ) as error:  # no network, no place to write, not the bytes that were expected
        raise InvalidWeights(
            f"the weights of {network_name} could not be downloaded ({error}); fetch {source.url} on a machine with "
            f"internet access, and name the file with --weights FILE"
        ) from error
    return Weights(source.name, _named(tensors), source.mean, source.std, source.labels)


def _of_checkpoint(fields: dict[str, Any], file: Path) -> Weights:
    try:
        checkpoint = Checkpoint.from_fields(fields)
    except (KeyError, TypeError) as error:
        raise InvalidWeights(f"{file} is a checkpoint of another version of Covey; train it anew") from error
    return Weights(
        f"{checkpoint.network} trained on {checkpoint.dataset}",
        checkpoint.trained_weights,
        checkpoint.recipe.mean,
        checkpoint.recipe.std,
        checkpoint.labels,
    )


def _named(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors by the names that the bare network has."""
    prefix = "".join(_wrappers_of(tensors))
    return {_OLD_DENSENET.sub(r"\1\2", name.removeprefix(prefix)): tensor for name, tensor in tensors.items()}


def _wrappers_of(tensors: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """The wrappers that stand before each name, outermost first."""
    names, found = list(tensors), []
    while names and (wrapper := next((one for one in _WRAPPERS if all(name.startswith(one) for name in names)), None)):
        names = [name.removeprefix(wrapper) for name in names]
        found.append(wrapper)
    return tuple(found)


def _prefixes_of_some(tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """The chains of wrappers that stand before some of the names."""
    found = set()
    for name in tensors:
        prefix, rest = "", name
        while wrapper := next((one for one in _WRAPPERS if rest.startswith(one)), None):
            prefix, rest = prefix + wrapper, rest.removeprefix(wrapper)
            found.add(prefix)
    return found


def _differ_in_classes_alone(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    return given.ndim == wanted.ndim and given.shape != wanted.shape and given.shape[1:] == wanted.shape[1:]


def _message(name: str, problems: list[str], given: list[str], wanted: list[str]) -> str:
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    said = f"the weights in {name} are not this network's: {'; '.join(problems[:_SHOWN])}{more}"
    if set(given) & set(wanted):
        return said
    return f"{said}. No name is the same: the file has {_few(given)}, the network has {_few(wanted)}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
