"""Every network of the installed timm, as `timm:NAME`. timm is imported when the first of them is asked for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from covey_export import naming
from covey_export.errors import InvalidNetwork, UnknownName
from covey_export.networks.blame import first_line
from covey_export.networks.network import Network, Task, size
from covey_export.networks.trial import require_classes
from covey_proto.resize import Resize

PREFIX = "timm:"


def find_timm_network(name: str) -> Network:
    """The network of the name after `timm:`. Raises UnknownName, with the nearest names."""
    settings = pretrained_cfg(name)
    channels, height, width = settings.get("input_size") or (3, 224, 224)
    return Network(
        PREFIX + name,
        functools.partial(_build, name),
        (height, width, channels),
        default_dataset="cifar10",
        source=f"timm, {name}",
        smallest_side=32,
        resize=Resize.CENTER_CROP,
        crop=1.0,
        takes_dropout=True,
    )


def pretrained_cfg(name: str) -> Mapping[str, Any]:
    """How timm prepares images for the network of that name. Raises UnknownName."""
    timm = _timm()
    bare = name.partition(".")[0]  # a tag of weights may follow
    if not timm.is_model(bare):
        raise naming.unknown("timm network", name, timm.list_models())
    try:
        settings = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    except RuntimeError as error:
        raise UnknownName(f"{PREFIX}{name}: {first_line(error)}; expected a name such as {bare}") from error
    found: Mapping[str, Any] = settings.to_dict() if settings is not None else {}
    return found


def make(name: str, classes: int, channels: int, **options: object) -> nn.Module:
    """The network with fresh weights. Raises InvalidNetwork where timm cannot build it."""
    timm = _timm()
    try:
        module: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels, **options)
    except Exception as error:
        raise InvalidNetwork(f"{PREFIX}{name} cannot be built: {first_line(error)}") from error
    return module


def size_options(name: str, height: int, width: int) -> dict[str, Any]:
    """The argument of networks that are built for one size, where another one is asked for."""
    settings = pretrained_cfg(name)
    usual = tuple(settings.get("input_size") or (3, 224, 224))[1:]
    is_other = bool(settings.get("fixed_input_size")) and (height, width) != usual
    return {"img_size": (height, width)} if is_other else {}


def imagenet_labels(settings: Mapping[str, Any], classes: int) -> list[str] | None:
    """timm's own labels of the ImageNet that has so many classes; None where there is none."""
    _timm()
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({**settings, "num_classes": classes})
    if not subset:
        return None
    known = ImageNetInfo(subset)
    return [known.index_to_description(place) for place in range(classes)]


def _build(name: str, task: Task) -> nn.Module:
    height, width, channels = task.image_shape
    options = size_options(name, height, width)
    if task.dropout is not None:
        options["drop_rate"] = task.dropout
    try:
        module = make(name, task.classes, channels, **options)
    except InvalidNetwork as error:
        raise InvalidNetwork(f"{error}; it was for images of {size(task.image_shape)}") from error
    require_classes(module, task, PREFIX + name)
    return module


def _timm() -> ModuleType:
    try:
        import timm  # here: it costs seconds that no other network needs
    except ModuleNotFoundError as error:
        raise UnknownName("timm:NAME needs the package timm, which is not installed: pip install timm") from error
    found: ModuleType = timm
    return found
