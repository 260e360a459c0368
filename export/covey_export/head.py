"""The last layer of a network, which knows the classes: found, replaced, or the only one that learns."""

from __future__ import annotations

from torch import nn

from covey_export.errors import ExportError


def find(network: nn.Module, classes: int) -> str:
    """The name of the last layer whose outputs are the classes. Raises ExportError where there is none."""
    found = [
        name
        for name, layer in network.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == classes)
    ]
    if not found:
        raise ExportError(
            f"no linear or convolution layer of {type(network).__name__} gives {classes} numbers, one per class; "
            f"the last layer that knows the classes must be one of these"
        )
    last: str = found[-1]
    return last


def freeze_all_but_head(network: nn.Module, classes: int) -> None:
    """From now on only the last layer learns."""
    head = network.get_submodule(find(network, classes))
    network.requires_grad_(False)
    head.requires_grad_(True)


def set_frozen_part_to_evaluation(network: nn.Module, classes: int) -> None:
    """What does not learn behaves as in service: batch normalisation keeps its statistics, nothing is dropped."""
    head = network.get_submodule(find(network, classes))
    network.eval()
    head.train()
