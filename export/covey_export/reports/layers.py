"""What every layer of a network gives for one image, found with forward hooks, whatever the network.

Also the first layer's weights, where they can be seen as images. Draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from covey_export.datasets.dataset import Images
from covey_export.image_classifier import ImageClassifier

MAX_LAYERS = 12
MAX_MAPS = 12  # of a layer that are kept
MAX_KERNELS = 64
MAX_SIDE = 64  # pixels of a kept map; larger ones are averaged down

_ACTIVATIONS, _POOLING = "torch.nn.modules.activation", "torch.nn.modules.pooling"
_NOT_LAYERS = (nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.MultiheadAttention)
Array = NDArray[np.float32]
Hook = Callable[[nn.Module, object, object], None]


@dataclass(frozen=True)
class Layer:
    """One step of the forward pass: `maps` `[M, h, w]` are the first of its `total` maps, whose own size is `size`.

    The numbers of a layer without maps (a linear one) are laid out row by row as one map, `is_vector`.
    """

    name: str  # as the network's module has it
    kind: str  # the module's class
    maps: Array
    total: int
    size: tuple[int, int]
    is_vector: bool


@dataclass(frozen=True)
class Kernels:
    """Weights seen as images: `values` `[M, h, w, C]`, C 1 or 3, the first of `total`, of the layer `name`."""

    name: str
    kind: str
    values: Array
    total: int


@dataclass(frozen=True)
class Recording:
    """All that was seen of one image: at most MAX_LAYERS layers, and the kernels (None: nothing that fits)."""

    layers: tuple[Layer, ...]
    layers_in_all: int
    kernels: Kernels | None


def record(model: ImageClassifier, image: Images) -> Recording:
    """Sends one image `[H, W, C] uint8` through the network."""
    seen: list[tuple[str, nn.Module, Layer]] = []
    weighted: list[tuple[str, nn.Module]] = []
    channels_last: torch.Size | None = None  # the shape of what now runs, where it is [N, H, W, C]

    def keep(name: str) -> Hook:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            nonlocal channels_last
            if isinstance(module, nn.Conv2d | nn.Linear):
                weighted.append((name, module))
            if not isinstance(output, torch.Tensor) or output.ndim not in (2, 4):
                return
            if output.ndim == 4 and _gives_channels_last(module):
                channels_last = output.shape
            elif isinstance(module, nn.Conv2d):
                channels_last = None
            if _is_layer(module):
                given = output[0].detach().float()
                maps = given.permute(2, 0, 1) if output.shape == channels_last else given
                # Copied now: an activation that works in place would change it.
                seen.append((name, module, _layer(name, module, maps)))

        return hook

    leaves = [(name, module) for name, module in model.network.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(keep(name)) for name, module in leaves]
    was_training = model.training
    try:
        model.eval()
        with torch.inference_mode():
            model(torch.tensor(image[None]))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return Recording(_choose(seen), len(seen), _kernels(weighted, image.shape))


def _gives_channels_last(module: nn.Module) -> bool:
    """Whether its 4-D output is [N, H, W, C]; what is derived from LayerNorm may turn it back, as ConvNeXt's does.

    An activation, whose output has the shape of what came before it, is as that was.
    """
    return isinstance(module, nn.Linear) or (type(module) is nn.LayerNorm and len(module.normalized_shape) == 1)


def _is_layer(module: nn.Module) -> bool:
    return not isinstance(module, _NOT_LAYERS) and (
        isinstance(module, nn.Conv2d | nn.Linear) or type(module).__module__ in (_ACTIVATIONS, _POOLING)
    )


def _layer(name: str, module: nn.Module, output: torch.Tensor) -> Layer:
    kind = type(module).__name__
    if output.ndim == 1 or output.shape[1:] == (1, 1):
        numbers = output.flatten().cpu().numpy()
        return Layer(name, kind, _rows(numbers)[None], len(numbers), (1, 1), is_vector=True)
    total, height, width = output.shape
    kept = output[:MAX_MAPS]
    if max(height, width) > MAX_SIDE:
        shrunk = (min(height, MAX_SIDE), min(width, MAX_SIDE))
        kept = functional.adaptive_avg_pool2d(kept[None], shrunk)[0]
    return Layer(name, kind, kept.cpu().numpy().copy(), total, (height, width), is_vector=False)


def _rows(numbers: Array) -> Array:
    """`[n]` laid out in rows, as near to four times as wide as high as whole rows allow; NaN where nothing is left."""
    columns = int(np.ceil(np.sqrt(4 * len(numbers)))) if len(numbers) > 16 else len(numbers)
    rows = -(-len(numbers) // columns)
    grid = np.full(rows * columns, np.nan, np.float32)
    grid[: len(numbers)] = numbers
    return grid.reshape(rows, columns)


def _choose(seen: list[tuple[str, nn.Module, Layer]]) -> tuple[Layer, ...]:
    """At most MAX_LAYERS: where there are more, first those go that an activation follows, then every so many.
    Poolings, where the maps become smaller, stay as long as they leave room for others."""
    if len(seen) > MAX_LAYERS:
        followed = [type(after[1]).__module__ == _ACTIVATIONS for after in seen[1:]] + [False]
        is_weighted = [isinstance(module, nn.Conv2d | nn.Linear) for _, module, _ in seen]
        kept = [
            entry
            for entry, is_dull in zip(seen, (a and b for a, b in zip(followed, is_weighted, strict=True)), strict=True)
            if not is_dull
        ]
        seen = kept if len(kept) >= MAX_LAYERS else seen
    pooled = [place for place, (_, module, _) in enumerate(seen) if type(module).__module__ == _POOLING]
    fixed = pooled if len(pooled) <= MAX_LAYERS // 2 else []
    others = [place for place in range(len(seen)) if place not in fixed]
    chosen = np.unique(np.linspace(0, len(others) - 1, min(len(others), MAX_LAYERS - len(fixed))).round().astype(int))
    return tuple(seen[place][2] for place in sorted([*fixed, *(others[place] for place in chosen)]))


def _kernels(weighted: list[tuple[str, nn.Module]], image_shape: tuple[int, ...]) -> Kernels | None:
    """Of the first convolution that ran, else of the first linear layer where its inputs are the image's pixels."""
    height, width, channels = image_shape
    convolutions = [entry for entry in weighted if isinstance(entry[1], nn.Conv2d)]
    for name, module in convolutions[:1] or weighted[:1]:
        weights = module.get_parameter("weight").detach().float().cpu()
        if isinstance(module, nn.Linear):
            if module.in_features != height * width * channels:
                return None
            weights = weights.reshape(-1, channels, height, width)
        if weights.shape[1] not in (1, 3):
            return None
        values = weights[:MAX_KERNELS].permute(0, 2, 3, 1).numpy().copy()
        return Kernels(name, type(module).__name__, values, len(weights))
    return None
