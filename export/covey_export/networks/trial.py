"""A few runs of a network with fresh weights, before any training: does it take the images, does it give the classes,
are its answers those of each image alone, and is it small enough for a model file? Whether torch can export it is
onnx_graph.require_convertible's question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from covey_export.errors import InvalidNetwork
from covey_export.networks import blame
from covey_export.networks.network import Task, size

_MAX_BYTES = 2**31  # of an ONNX file, which is one protobuf message
_BATCH = 3
_NOISE = 0.02  # for weights that begin at zero, which would hide what stands before them
_TOLERANCE = 1e-3  # of the largest logit: float32 rounds differently in batches of different sizes


def require_classes(module: nn.Module, task: Task, name: str) -> None:
    """Raises InvalidNetwork unless `[N, C, H, W] float32` gives logits `[N, classes]`, the same ones of an image
    whatever comes with it, and one file can hold it all.

    Runs in evaluation mode and changes nothing, neither the module nor torch's random numbers. Where modules are
    only counted (the device "meta"), nothing is run.
    """
    if torch.get_default_device().type == "meta":
        return
    height, width, channels = task.image_shape
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            images = torch.rand(_BATCH, channels, height, width) * 2 - 1
            outputs = _run(module, images, task, name)
            _require_size(module, name)  # lazy layers have one now
            _require(outputs, task.classes, name)
            with _no_zero_weights(module):
                _require_independence(module, images, task, name)
    finally:
        for part, mode in modes.items():
            part.training = mode


def _run(module: nn.Module, images: torch.Tensor, task: Task, name: str) -> object:
    try:
        outputs: object = module(images)
    except Exception as error:
        raise InvalidNetwork(
            f"{name} cannot take images of {size(task.image_shape)}: for {tuple(images.shape)} float32 it raised "
            f"{blame.with_line(error)}"
        ) from error
    return outputs


@contextmanager
def _no_zero_weights(module: nn.Module) -> Iterator[None]:
    """Fills weights that are all zero with a little noise, and empties them again."""
    zeros = [parameter for parameter in module.parameters() if parameter.is_floating_point() and not parameter.any()]
    for parameter in zeros:
        parameter.normal_(0, _NOISE)
    try:
        yield
    finally:
        for parameter in zeros:
            parameter.zero_()


def _require_independence(module: nn.Module, images: torch.Tensor, task: Task, name: str) -> None:
    """Raises InvalidNetwork where an image's logits depend on chance or on the images beside it."""
    together, again = (_run(module, images, task, name) for _ in range(2))
    assert isinstance(together, torch.Tensor)
    assert isinstance(again, torch.Tensor)
    tolerance = _TOLERANCE * max(1.0, float(together.abs().max()))
    if not torch.allclose(together, again, rtol=0, atol=tolerance):
        raise InvalidNetwork(
            f"{name} gives other logits for the same images each time, in evaluation mode too; expected the same. "
            f"Random layers must stop with training: write F.dropout(x, training=self.training), or make nn.Dropout "
            f"in __init__, not in forward()"
        )
    alone = _run(module, images[:1], task, name)
    if not isinstance(alone, torch.Tensor) or tuple(alone.shape) != (1, task.classes):
        shape = tuple(alone.shape) if isinstance(alone, torch.Tensor) else type(alone).__name__
        raise InvalidNetwork(
            f"{name} gives {shape} for a single image, expected (1, {task.classes}): the batch axis is lost where it "
            f"is 1. Use flatten(1) in place of squeeze() and of view() or reshape() to fewer axes"
        )
    if not torch.allclose(alone, together[:1], rtol=0, atol=tolerance):
        raise InvalidNetwork(
            f"{name} gives an image other logits when it comes alone than beside others; expected the same, since a "
            f"server puts images of several callers into one batch. {_neighbours(module)}"
        )


def _neighbours(module: nn.Module) -> str:
    """What lets images of a batch change each other's logits, as far as it can be seen."""
    guilty = [
        path or type(part).__name__
        for path, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None
    ]
    if guilty:
        return (
            f"Batch normalisation without running statistics does that ({', '.join(guilty[:3])}"
            f"{' and more' if len(guilty) > 3 else ''}): leave track_running_stats at True"
        )
    return "Compute means, norms, softmax and sorting over the axes of one image, never over axis 0"


def _require_size(module: nn.Module, name: str) -> None:
    values = sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
    if 4 * values >= _MAX_BYTES:
        raise InvalidNetwork(
            f"{name} has {values:,} parameters, {4 * values / 1e9:.1f} GB; a model is one ONNX file, which holds "
            f"at most {_MAX_BYTES / 1e9:.1f} GB. Choose a smaller network"
        )


def _require(outputs: object, classes: int, name: str) -> None:
    wanted = f"one tensor of logits [N, {classes}], one per class, for images [N, C, H, W]"
    if not isinstance(outputs, torch.Tensor):
        raise InvalidNetwork(f"{name} gives a {type(outputs).__name__}; expected {wanted}")
    if tuple(outputs.shape) != (_BATCH, classes):
        raise InvalidNetwork(f"{name} gives {tuple(outputs.shape)} for N = {_BATCH}; expected {wanted}")
    if not outputs.is_floating_point() or not outputs.isfinite().all():
        raise InvalidNetwork(f"{name} gives {outputs.dtype} values that are not all finite numbers; expected {wanted}")
    if (outputs >= 0).all() and torch.allclose(outputs.sum(dim=1), torch.ones(()), atol=1e-5):
        raise InvalidNetwork(
            f"{name} gives probabilities (each row adds up to 1); expected {wanted}: leave out its softmax, "
            f"the served model has its own"
        )
