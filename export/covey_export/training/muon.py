"""One optimizer of two: Muon for the matrices inside a network, for which it is made, and AdamW for the rest.

After Jordan et al.: Muon: an optimizer for hidden layers in neural networks (2024): a matrix moves by its momentum with
all singular values made nearly 1, so that no direction is left behind. torch.optim.Muon takes matrices only. The kernel
of a convolution is one too, from all that it looks at to its outputs; it is given to Muon in that shape, as a view of
the same memory. Steps are scaled to the size of AdamW's (Liu et al.: Muon is scalable for LLM training, 2025), so one
learning rate and one weight decay do for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

Groups = Iterable[dict[str, Any]]


def hidden_matrices(network: nn.Module) -> list[torch.Tensor]:
    """The weights of linear layers and convolutions, except the last layer, which gives the classes, and grouped
    convolutions, whose channels have nothing to do with each other."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [layer.weight for layer in layers[:-1] if getattr(layer, "groups", 1) == 1]


class KernelMuon(torch.optim.Muon):
    """torch's Muon for parameters of two axes or more: `[outputs, ...]` is taken as `[outputs, all else]`."""

    def __init__(self, groups: Groups, lr: float, momentum: float, nesterov: bool) -> None:
        self._kernels: list[nn.Parameter] = []
        self._matrices: list[nn.Parameter] = []
        matrix_groups = []
        for group in groups:
            matrices = [nn.Parameter(_as_matrix(kernel.detach(), like=kernel)) for kernel in group["params"]]
            self._kernels += group["params"]
            self._matrices += matrices
            matrix_groups.append({**group, "params": matrices})
        super().__init__(matrix_groups, lr=lr, momentum=momentum, nesterov=nesterov, adjust_lr_fn="match_rms_adamw")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients of the kernels and of their matrices."""
        del set_to_none
        for parameter in (*self._kernels, *self._matrices):
            parameter.grad = None

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Moves the kernels by the gradients that they have. A closure is not called."""
        del closure
        for kernel, matrix in zip(self._kernels, self._matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _as_matrix(kernel.grad, like=kernel)
        super().step()  # type: ignore[no-untyped-call]


class Together:
    """Optimizers of different parameters, used as one. Their states are kept by name."""

    def __init__(self, parts: Mapping[str, torch.optim.Optimizer]) -> None:
        self._parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all optimizers, to set learning rates."""
        return [group for part in self._parts.values() for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self._parts.values():
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads their states. Raises KeyError or ValueError where the state is that of other optimizers."""
        for name, part in self._parts.items():
            part.load_state_dict(state[name])


def _as_matrix(values: torch.Tensor, like: nn.Parameter) -> torch.Tensor:
    """`values` as `[outputs, all else]` in the memory order of `like`: for channels-last kernels the channels come
    last. It is a view where `values` have this order."""
    ordered = values if like.is_contiguous() else values.permute(0, 2, 3, 1)
    return ordered.reshape(len(values), -1)
