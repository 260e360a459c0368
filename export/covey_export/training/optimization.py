"""The loss, the optimizer and its learning rate at every step, as a recipe has them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from covey_export.networks import Output
from covey_export.training import muon
from covey_export.training.lion import Lion
from covey_export.training.recipe import Recipe

_MIN_PROBABILITY = 1e-12  # a softmax can give 0, whose logarithm would end the training
_FIRST_SHARE = 1 / 20  # of the highest learning rate, at a one-cycle training's first step
_LAST_SHARE = 1 / 1000  # and at its last

AnyOptimizer = torch.optim.Optimizer | muon.Together


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with the same decay and the same learning rate, which is `rate` times the recipe's."""

    name: str
    parameters: list[nn.Parameter]
    weight_decay: float
    rate: float
    is_for_muon: bool = False


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[ParameterGroup]:
    """The groups that have parameters to learn."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    shifts = [module.bias for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    fast = {id(shift) for shift in shifts if recipe.bias_rate != 1}
    hidden = {id(matrix) for matrix in muon.hidden_matrices(network)} if recipe.optimizer == "muon" else set()
    decay = recipe.weight_decay
    groups = [
        ParameterGroup("hidden kernels and matrices", [p for p in learning if id(p) in hidden], decay, 1.0, True),
        ParameterGroup(
            "other kernels and matrices" if hidden else "kernels and matrices",
            [p for p in learning if p.ndim > 1 and id(p) not in hidden],
            *(decay, 1.0),
        ),
        ParameterGroup("biases and scales", [p for p in learning if p.ndim <= 1 and id(p) not in fast], 0.0, 1.0),
        ParameterGroup("biases of batch normalisation", [p for p in learning if id(p) in fast], 0.0, recipe.bias_rate),
    ]
    return [group for group in groups if group.parameters]


def build_optimizer(network: nn.Module, recipe: Recipe) -> AnyOptimizer:
    """The optimizer of all that is to learn; weight decay for kernels and matrices alone.

    The biases of batch normalisation learn `recipe.bias_rate` times as fast (Page 2018, Jordan 2024). "muon" is AdamW
    where Muon is not made for the parameters.
    """
    all_groups = parameter_groups(network, recipe)
    if recipe.optimizer == "muon":
        parts: dict[str, torch.optim.Optimizer] = {}
        if inside := _as_dicts(group for group in all_groups if group.is_for_muon):
            parts["muon"] = muon.KernelMuon(inside, recipe.learning_rate, recipe.momentum, recipe.nesterov)
        if others := _as_dicts(group for group in all_groups if not group.is_for_muon):
            parts["adamw"] = torch.optim.AdamW(others, lr=recipe.learning_rate)
        return muon.Together(parts)
    groups = _as_dicts(all_groups)
    if recipe.optimizer == "lion":
        return Lion(groups, lr=recipe.learning_rate)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, lr=recipe.learning_rate)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate)
    return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=recipe.nesterov)


def _as_dicts(groups: Iterable[ParameterGroup]) -> list[dict[str, Any]]:
    """The groups as torch's optimizers take them."""
    return [{"params": group.parameters, "weight_decay": group.weight_decay, "rate": group.rate} for group in groups]


def learning_rate(recipe: Recipe, done: float) -> float:
    """The learning rate once the share `done` (0 to 1) of all steps is done.

    "one-cycle" rises in a straight line and falls as half a cosine (Smith, Topin: Super-convergence, 2017). A function
    of the place alone, so that a resumed training needs no state of it.
    """
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if done < recipe.warm_up:
        return recipe.learning_rate * (_FIRST_SHARE + (1 - _FIRST_SHARE) * done / recipe.warm_up)
    falling = (done - recipe.warm_up) / (1 - recipe.warm_up)
    return recipe.learning_rate * (_LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * falling)) / 2)


def set_learning_rate(optimizer: AnyOptimizer, rate: float) -> None:
    """Sets the learning rate of the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate", 1.0)  # a checkpoint of an older training has none


def loss(outputs: torch.Tensor, labels: torch.Tensor, output: Output, label_smoothing: float) -> torch.Tensor:
    """The mean cross-entropy of a batch."""
    outputs = outputs.float()
    if output is Output.PROBABILITIES:
        # Logarithms of probabilities are logits whose softmax is the probabilities again.
        outputs = outputs.clamp_min(_MIN_PROBABILITY).log()
    return nn.functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing)
