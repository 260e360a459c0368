"""One run of a network on black images, before any training: does it take them, does it give the classes, and is it
small enough for a model file? Whether torch can export it is conversion.require_convertible's question."""

from __future__ import annotations

import torch
from torch import nn

from covey_export.errors import InvalidNetwork
from covey_export.networks.network import Task, size

_MOST_BYTES = 2**31  # of an ONNX file, which is one protobuf message
_BATCH = 2  # a network that loses the batch axis shows it


def require_classes(module: nn.Module, task: Task, name: str) -> None:
    """Raises InvalidNetwork unless `[2, C, H, W] float32` gives logits `[2, classes]`, and one file can hold it all.

    Runs in evaluation mode and changes nothing, neither the module nor torch's random numbers. Where modules are
    only counted (the device "meta"), nothing is run.
    """
    if torch.get_default_device().type == "meta":
        return
    height, width, channels = task.image_shape
    images = torch.zeros(_BATCH, channels, height, width)
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            outputs = module(images)
    except Exception as error:
        raise InvalidNetwork(
            f"{name} cannot take images of {size(task.image_shape)}: for {tuple(images.shape)} float32 it raised "
            f"{first_line(error)}"
        ) from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    _require_size(module, name)  # lazy layers have one now
    _require(outputs, task.classes, name)


def _require_size(module: nn.Module, name: str) -> None:
    values = sum(tensor.numel() for tensor in (*module.parameters(), *module.buffers()))
    if 4 * values >= _MOST_BYTES:
        raise InvalidNetwork(
            f"{name} has {values:,} parameters, {4 * values / 1e9:.1f} GB; a model is one ONNX file, which holds "
            f"at most {_MOST_BYTES / 1e9:.1f} GB. Choose a smaller network"
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


def first_line(error: BaseException) -> str:
    """An error of someone else's code, for people: its kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
