"""Probabilities of many images by PyTorch, and the accuracy of probabilities wherever they come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covey_export.datasets.dataset import Labels
from covey_export.errors import InvalidNetwork
from covey_export.image_classifier import ImageClassifier

_MIN_PROBABILITY = 1e-12  # as in training: a softmax can give 0
_BATCH_PIXELS = 500 * 32 * 32  # bounds the memory that the activations of large images take


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers, 0 to 1; a class without test images has None."""

    overall: float
    per_class: tuple[float | None, ...]
    images: int


def predict(model: ImageClassifier, images: torch.Tensor) -> NDArray[np.float32]:
    """Probabilities `[N, K] float32` of `images` `[N, H, W, C] uint8`, which lie on the model's device."""
    return _in_batches(model, model, images)


def scores(model: ImageClassifier, images: torch.Tensor) -> NDArray[np.float64]:
    """The same before the softmax and its temperature, see ImageClassifier.scores."""
    return _in_batches(model, model.scores, images).astype(np.float64)


def embeddings(model: ImageClassifier, images: torch.Tensor) -> NDArray[np.float32]:
    """What the network's last linear layer gets, `[N, D] float32`. Raises InvalidNetwork where no such layer runs."""
    seen: list[torch.Tensor] = []

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen[:] = inputs[:1]

    def run(batch: torch.Tensor) -> torch.Tensor:
        seen.clear()
        model(batch)
        if not seen:
            raise InvalidNetwork(
                f"{type(model.network).__name__} runs no layer of the class torch.nn.Linear; expected one at its end, "
                f"whose input is the embedding"
            )
        return seen[0]

    hooks = [layer.register_forward_pre_hook(note) for layer in model.network.modules() if isinstance(layer, nn.Linear)]
    try:
        return _in_batches(model, run, images)
    finally:
        for hook in hooks:
            hook.remove()


def _in_batches(
    model: ImageClassifier, run: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> NDArray[np.float32]:
    was_training = model.training
    model.eval()
    size = max(1, _BATCH_PIXELS // (images.shape[1] * images.shape[2]))
    with torch.inference_mode():
        batches = [run(images[start : start + size]).float().cpu() for start in range(0, len(images), size)]
    model.train(was_training)
    found: NDArray[np.float32] = torch.cat(batches).numpy()
    return found


def accuracy(probabilities: NDArray[np.float32], labels: Labels) -> Accuracy:
    """How often the most probable class, of `probabilities` `[N, K]`, is the label, of `labels` `[N]`."""
    right = probabilities.argmax(axis=1) == labels
    per_class = tuple(
        float(right[labels == label].mean()) if (labels == label).any() else None
        for label in range(probabilities.shape[1])
    )
    return Accuracy(float(right.mean()), per_class, len(labels))


def mean_loss(probabilities: NDArray[np.float32], labels: Labels) -> float:
    """The mean cross-entropy of `probabilities` `[N, K]` against `labels` `[N]`."""
    of_labels = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(of_labels.clip(min=_MIN_PROBABILITY)).mean())
