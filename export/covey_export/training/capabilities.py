"""Finds out which of a recipe's ways to save time work with a user's own network, by a training step with each."""

from __future__ import annotations

from dataclasses import replace

import torch

from covey_export import image_classifier
from covey_export.errors import InvalidNetwork
from covey_export.evaluation import predict
from covey_export.networks import Network
from covey_export.networks.blame import with_line
from covey_export.option_values import TrainingPrecision
from covey_export.training import mixed_precision, optimization, progressive
from covey_export.training.recipe import Recipe

_BATCH = 4


def fit_to_network(network: Network, classes: int, recipe: Recipe, device: torch.device) -> tuple[Recipe, list[str]]:
    """The recipe without what the network cannot run with, and a note for people on each thing that was left out.

    Channels-last tensors cannot be flattened by view(), and not every operation exists in bfloat16. Draws from torch's
    global generator.

    A recipe without epochs trains nothing: then the network only has to run.

    Raises InvalidNetwork where plain PyTorch cannot do it either (float32, contiguous), or where the recipe asks for
    bfloat16 itself and the network has no such operation.
    """
    notes = []
    if recipe.channels_last:
        error = _try_step(network, classes, recipe, device, "float32")
        if error is not None:
            recipe = replace(recipe, channels_last=False)
            done = "trained" if recipe.epochs else "run"
            notes.append(f"{done} with contiguous tensors: with channels-last ones it raised {with_line(error)}")
    error = _try_step(network, classes, recipe, device, "float32") if not recipe.channels_last else None
    if error is not None:
        action = "trained: forward and backward" if recipe.epochs else "run: forward"
        raise InvalidNetwork(
            f"{network.name} cannot be {action} of {_BATCH} images raised {with_line(error)}"
        ) from error
    if recipe.first_size < 1 and recipe.epochs:
        error = _try_step(network, classes, recipe, device, "float32", done=0.0)
        if error is not None:
            recipe = replace(recipe, first_size=1.0)
            notes.append(f"trained with images of one size: with smaller ones it raised {with_line(error)}")
    if recipe.precision != "float32" and recipe.epochs:
        error = _try_step(network, classes, recipe, device, "bfloat16")
        if error is not None and recipe.precision == "bfloat16":
            raise InvalidNetwork(
                f"{network.name} cannot be trained in bfloat16: it raised {with_line(error)}; use --precision float32"
            ) from error
        if error is not None:
            recipe = replace(recipe, precision="float32")
            notes.append(f"trained in float32: in bfloat16 it raised {with_line(error)}")
    return recipe, notes


def _try_step(
    network: Network,
    classes: int,
    recipe: Recipe,
    device: torch.device,
    precision: TrainingPrecision,
    *,
    done: float = 1.0,
) -> Exception | None:
    """The exception that a training step of a new module raises, or a run where the recipe has no epochs; None: it
    raises none. `done` is the share of the training before the step: at 0 images are smallest."""
    model = image_classifier.build(network, classes, recipe).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (_BATCH, *network.image_shape), dtype=torch.uint8, device=device)
    labels = torch.arange(_BATCH, device=device) % classes
    try:
        if not recipe.epochs:
            predict(model, images)
            return None
        model.train()
        with mixed_precision.autocast(precision, device):
            outputs = model.network(progressive.shrink(model.normalise(images), recipe.first_size, done))
        torch.autograd.backward(optimization.loss(outputs, labels, network.output, 0.0))
    except Exception as error:  # noqa: BLE001 - of the user's code or of torch, whatever it is
        return error
    return None
