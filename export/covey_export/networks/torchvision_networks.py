"""Every classification network of the installed torchvision, as `torchvision:NAME`. torchvision is imported when
the first of them is asked for.

What is usual for a network (its size, the part of an image that is kept) is what torchvision itself says of its
weights; the smallest image is torchvision's figure too, but for the families that can be built for smaller ones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from covey_export import naming
from covey_export.errors import InvalidNetwork
from covey_export.networks.blame import first_line
from covey_export.networks.network import ImageShape, Network, Task, size
from covey_export.networks.trial import require_classes
from covey_proto.resize import Resize

PREFIX = "torchvision:"

Value = TypeVar("Value")

_MIN_SIDE = 32  # where a network could take less, what is left of the image is a single pixel
_MIN_SIDES = {"swin": 32, "vit": 32}  # torchvision states the size of the weights
_DROPOUT = {  # the argument of each family that has one
    "alexnet": "dropout",
    "densenet": "drop_rate",
    "efficientnet": "dropout",
    "googlenet": "dropout",
    "inception": "dropout",
    "mnasnet": "dropout",
    "mobilenet": "dropout",
    "squeezenet": "dropout",
    "swin": "dropout",
    "vgg": "dropout",
    "vit": "dropout",
}


def is_known(name: str) -> bool:
    """Whether torchvision has a classification network of that name."""
    models = _models()
    return name in models.list_models(module=models)


def find_torchvision_network(name: str) -> Network:
    """The network of the name after `torchvision:`. Raises UnknownName, with the nearest names."""
    models = _models()
    names = models.list_models(module=models)
    if name not in names:
        raise naming.unknown("torchvision network", name, names)
    weights = models.get_model_weights(name).DEFAULT
    usual = weights.transforms()
    side, smallest = usual.crop_size[0], max(_MIN_SIDE, *weights.meta["min_size"])
    return Network(
        PREFIX + name,
        functools.partial(_build, name),
        (side, side, 3),
        default_dataset="cifar10",
        source=f"torchvision, {name}",
        smallest_side=_of_family(_MIN_SIDES, name) or smallest,
        only_rgb=True,
        resize=Resize.CENTER_CROP,
        crop=float(np.float32(side / usual.resize_size[0])),  # what a model's file holds is float32
        takes_dropout=_of_family(_DROPOUT, name) is not None,
    )


@dataclass(frozen=True)
class DefaultWeights:
    """torchvision's best weights for a network: where they are, and what belongs to them."""

    name: str
    url: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]  # of the outputs, in order
    notes: tuple[str, ...]  # where Covey's preprocessing is another, one sentence each

    def read(self) -> dict[str, torch.Tensor]:
        """The tensors of the file, downloaded where it is not in PyTorch's cache. Raises OSError, RuntimeError."""
        tensors: dict[str, torch.Tensor] = torch.hub.load_state_dict_from_url(
            self.url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
        return tensors


def default_weights(network_name: str) -> DefaultWeights:
    """Of the network of that name, `torchvision:` included."""
    found = _models().get_model_weights(network_name.removeprefix(PREFIX)).DEFAULT
    usual = found.transforms()
    mean, std = tuple(usual.mean), tuple(usual.std)
    if _has_own_normalisation(network_name.removeprefix(PREFIX)):
        mean = std = (0.5, 0.5, 0.5)
    return DefaultWeights(f"{PREFIX}{found}", found.url, mean, std, tuple(found.meta["categories"]), _notes(usual))


@dataclass(frozen=True)
class Preparation:
    """How torchvision itself prepares images for a network's weights, and the labels of those. `is_known`: the weights
    are torchvision's own, by the digest in their name; else this is what is usual for the network."""

    name: str
    size: int
    resize_to: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    is_known: bool


def preparation(name: str, sha256: str) -> Preparation:
    """For weights of the network of the name after `torchvision:`, in a file with that digest.

    Raises UnknownName, with the nearest names.
    """
    models = _models()
    if name not in (names := models.list_models(module=models)):
        raise naming.unknown("torchvision network", name, names)
    enum = models.get_model_weights(name)
    known = next((each for each in enum if f"-{sha256[:8]}." in each.url), None)
    found = known or enum.DEFAULT
    usual = found.transforms()
    mean, std = tuple(usual.mean), tuple(usual.std)
    if known is not None and _has_own_normalisation(name):
        mean = std = (0.5, 0.5, 0.5)
    return Preparation(
        str(found),
        usual.crop_size[0],
        usual.resize_size[0],
        str(getattr(usual.interpolation, "value", usual.interpolation)),
        mean,
        std,
        tuple(found.meta["categories"]),
        known is not None,
    )


def _notes(usual: Any) -> tuple[str, ...]:  # noqa: ANN401 - torchvision's transforms have no common type
    """What of the preprocessing that the weights were trained with Covey does otherwise."""
    mode = getattr(usual.interpolation, "value", str(usual.interpolation))
    if mode == "bilinear":
        return ()
    return (f"the weights were trained with {mode} resizing, Covey resizes bilinearly: accuracy may differ a little",)


def _has_own_normalisation(name: str) -> bool:
    """Whether the weights are for images in -1..1: torchvision turns ImageNet's normalisation into it in the network
    (`transform_input`), which is left out here."""
    return name in ("googlenet", "inception_v3")


def _models() -> ModuleType:
    import torchvision.models  # here: it costs a second that no other network needs

    models: ModuleType = torchvision.models
    return models


def _of_family(values: dict[str, Value], name: str) -> Value | None:
    return next((value for family, value in values.items() if name.startswith(family)), None)


def _build(name: str, task: Task) -> nn.Module:
    options: dict[str, Any] = {"num_classes": task.classes, **_size_options(name, task.image_shape)}
    dropout = _of_family(_DROPOUT, name)
    if dropout is not None and task.dropout is not None:
        options[dropout] = task.dropout
    if _has_own_normalisation(name):  # and heads beside the last layer, for training alone
        options |= {"aux_logits": False, "transform_input": False, "init_weights": True}
    try:
        module: nn.Module = _models().get_model(name, weights=None, **options)
    except Exception as error:
        raise InvalidNetwork(
            f"{PREFIX}{name} cannot be built for images of {size(task.image_shape)}: {first_line(error)}"
        ) from error
    require_classes(module, task, PREFIX + name)
    return module


def _size_options(name: str, image_shape: ImageShape) -> dict[str, Any]:
    """The arguments of families that are built for one size of image. Raises InvalidNetwork where it cannot be."""
    height, width, _ = image_shape
    if name.startswith("vit"):
        patch = int(name.rpartition("_")[2])
        if height != width or height % patch:
            raise InvalidNetwork(
                f"{PREFIX}{name} cuts a square image into patches of {patch}x{patch}: expected height and width "
                f"alike and a multiple of {patch}, got {size(image_shape)}; another size fits, or another network"
            )
        return {"image_size": height}
    return {"input_size": (height, width)} if name.startswith("maxvit") else {}
