"""The moving average of the weights (EMA), which is what is tested and served where a recipe asks for it.

Near the end of a training the weights still jump about the place they tend to; their average is that place
(Polyak, Juditsky 1992).
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

_Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def begin(network: nn.Module, decay: float | None) -> AveragedModel | None:
    """The average of `network`'s weights and buffers from now on; None where none is wanted."""
    if decay is None:
        return None
    max_decay = decay  # no longer None, for the type checker

    @torch.no_grad()
    def update(averages: _Tensors, current: _Tensors, count: torch.Tensor | int) -> None:
        # A young average forgets faster, else it would still hold the random weights of the beginning.
        share = 1 - min(max_decay, (1 + int(count)) / (10 + int(count)))
        for average, value in zip(averages, current, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)  # batch normalisation's counters

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def weights(average: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The network's own state, taken from the state of its average."""
    prefix = "module."
    state = OrderedDict(
        (name.removeprefix(prefix), value) for name, value in average.items() if name.startswith(prefix)
    )
    # PyTorch keeps the versions of the modules there, and some (MNASNet) load nothing without.
    versions: dict[str, object] = getattr(average, "_metadata", {})
    state._metadata = {  # type: ignore[attr-defined]
        f"{name}.".removeprefix(prefix).removesuffix("."): version
        for name, version in versions.items()
        if f"{name}.".startswith(prefix)
    }
    return state
