"""What the options of the command line change about a recipe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from covey_export.cli import given_weights
from covey_export.errors import ExportError
from covey_export.networks import NETWORKS, Network
from covey_export.option_values import Optimizer
from covey_export.training.recipe import WITH_MOMENTUM, Recipe

# Fields of a recipe that an option of the same name changes.
_FIELDS = (
    "epochs", "batch_size", "optimizer", "learning_rate", "momentum", "dropout", "weight_decay", "label_smoothing",
    "augmentation", "shuffle", "log_steps", "precision",
)  # fmt: skip
# For another optimizer than the recipe's, whose learning rate would not fit: what its own authors, or torch, take.
_USUAL_RATES: Mapping[Optimizer, float] = {"sgd": 0.01, "adam": 0.001, "adamw": 0.001, "muon": 0.001, "lion": 0.0001}
_USUAL_MOMENTUM: Mapping[Optimizer, float] = {"sgd": 0.9, "muon": 0.95}


def find(options: argparse.Namespace, recipe: Recipe, network: Network) -> dict[str, Any]:
    """The fields to change, by their name. Raises ExportError where an option cannot apply."""
    changes: dict[str, Any] = {
        field: value for field in _FIELDS if (value := getattr(options, field, None)) is not None
    }
    if options.dropout is not None and not network.takes_dropout:
        raise ExportError(_no_dropout(network))
    if options.epochs == 0 and options.weights is None:
        raise ExportError("--epochs 0 publishes given weights as they are: it goes with --weights")
    optimizer = changes.get("optimizer", recipe.optimizer)
    if optimizer not in WITH_MOMENTUM and options.momentum is not None:
        raise ExportError(f"--momentum is SGD's and Muon's, this training's optimizer is {optimizer}; omit it")
    if optimizer != recipe.optimizer:
        changes.setdefault("learning_rate", _USUAL_RATES[optimizer])
        changes.setdefault("momentum", _USUAL_MOMENTUM.get(optimizer, 0.0))
        if optimizer == "muon":
            changes["nesterov"] = True
        changes["bias_rate"] = 1.0  # a factor that was found for the recipe's own optimizer
    if not changes.get("momentum", recipe.momentum):
        changes["nesterov"] = False
    normalisation = given_weights.normalisation(options)
    if normalisation is not None:
        given_weights.require_channels(normalisation[0], network.image_shape[2])
        changes["mean"], changes["std"] = normalisation  # a checkpoint that goes on has to agree
    if options.freeze:
        changes["freeze"] = True
    implied = ("nesterov", "bias_rate")
    return {field: value for field, value in changes.items() if field not in implied or value != getattr(recipe, field)}


def _no_dropout(network: Network) -> str:
    if network.is_own:
        return (
            f"{network.name} has no parameter `dropout`, so that none can be given to it; omit --dropout, or take it "
            f"where the network is made, as in `def __init__(self, classes: int, dropout: float = 0.5)`, with "
            f"nn.Dropout(dropout) where values are to be dropped"
        )
    copy = f", or put some into a copy: covey new mynet --from {network.name}" if network.name in NETWORKS else ""
    return f"{network.name} has no dropout; omit --dropout{copy}"


def flags(changes: Mapping[str, Any]) -> str:
    """The options that changed these fields, for people."""
    names = {"augmentation": "augment", "nesterov": "momentum", "bias_rate": "optimizer"}
    return ", ".join(dict.fromkeys(f"--{names.get(field, field)}".replace("_", "-") for field in changes))
