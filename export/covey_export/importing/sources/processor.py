"""Hugging Face's preprocessor_config.json: how images are prepared, computed from it alone, without transformers.

Files written by older versions leave out what their processor has by default: the defaults are here, by processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from covey_export.errors import InvalidSource
from covey_export.importing.settings.preset import PRESETS, Numbers
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources import contract
from covey_export.importing.sources.contract import Contract
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

Size = tuple[int, int]  # height, width

_HALF: tuple[Numbers, Numbers] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_IMAGENET: tuple[Numbers, Numbers] = (PRESETS["imagenet"].mean, PRESETS["imagenet"].std)
_CLIP: tuple[Numbers, Numbers] = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_WAYS = {  # Pillow's numbers
    0: Interpolation.NEAREST,
    1: Interpolation.LANCZOS,
    2: Interpolation.BILINEAR,
    3: Interpolation.BICUBIC,
}
_STRETCH_FROM = 384  # pixels; ConvNeXT cuts nothing off from there on


@dataclass(frozen=True)
class _Defaults:
    """Of one processor. A `size` of one number is the shorter side; `crop` is what is cut out, None: nothing."""

    size: int | Size
    crop: int | None = None
    numbers: tuple[Numbers, Numbers] | None = _HALF  # None: does not normalise
    resample: int = 3
    crop_pct: float | None = None


_PROCESSORS = {
    "Beit": _Defaults((224, 224)),
    "Bit": _Defaults(224, 224, _CLIP),
    "CLIP": _Defaults(224, 224, _CLIP),
    "ChineseCLIP": _Defaults(224, 224, _CLIP),
    "ConvNext": _Defaults(384, crop_pct=224 / 256),
    "DeiT": _Defaults((256, 256), 224),
    "EfficientNet": _Defaults((346, 346)),
    "Levit": _Defaults(224, 224, _IMAGENET),
    "MobileNetV1": _Defaults(256, 224, resample=2),
    "MobileNetV2": _Defaults(256, 224, resample=2),
    "MobileViT": _Defaults(224, 256, None),
    "PoolFormer": _Defaults(224, 224, _IMAGENET, crop_pct=0.9),
    "Pvt": _Defaults((224, 224), numbers=_IMAGENET),
    "Segformer": _Defaults((512, 512), numbers=_IMAGENET, resample=2),
    "Siglip": _Defaults((224, 224)),
    "ViT": _Defaults((224, 224), resample=2),
}
_OF_MODELS = {  # where the file does not name its processor
    **dict.fromkeys(("beit", "data2vec-vision"), "Beit"),
    **dict.fromkeys(("resnet", "regnet", "convnext", "convnextv2", "cvt", "van"), "ConvNext"),
    **dict.fromkeys(("vit", "swin", "swinv2", "vit_msn"), "ViT"),
    **dict.fromkeys(("bit", "dinov2", "focalnet"), "Bit"),
    **{"deit": "DeiT", "levit": "Levit", "mobilevit": "MobileViT", "poolformer": "PoolFormer", "pvt": "Pvt"},
}


def read(found: Mapping[str, Any], origin: str, model_type: str = "") -> Contract:
    """`found` is the file's content, `model_type` that of config.json.

    Raises InvalidSource where it is no preprocessor_config.json.
    """
    named = str(found.get("image_processor_type") or found.get("feature_extractor_type") or "")
    kind = _kind(named) or _OF_MODELS.get(model_type, "")
    try:
        return _read(found, origin, kind, named or f"the processor of {model_type or 'an unknown network'}")
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise InvalidSource(
            f"{origin}: expected the settings of an image processor (size, image_mean, image_std, resample), got "
            f"{type(error).__name__}: {error}; fetch the file again, or say how images are prepared with --like and "
            f"--resize"
        ) from error


def _kind(named: str) -> str:
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        named = named.removesuffix(ending)
    return named


def _read(found: Mapping[str, Any], origin: str, kind: str, named: str) -> Contract:
    usual = _PROCESSORS.get(kind)
    mean, std, bgr = _numbers(found, kind, usual)
    factor = 1.0 if found.get("do_rescale") is False else float(found.get("rescale_factor") or 1 / 255)
    said = Contract(origin, named, preset=contract.preset(mean, std, scale=factor, bgr=bgr))
    if usual is None:
        return replace(said, problem=_problem(origin, f"{named} prepares images in a way that Covey does not know"))
    resample = int(found.get("resample", usual.resample))
    found_way = _geometry(found, kind, usual)
    if resample not in _WAYS:
        found_way = replace(found_way, why=f"resample {resample} is an interpolation that Covey does not have")
    if found_way.why:
        return replace(said, size=found_way.size, problem=_problem(origin, found_way.why))
    policy = Resize.SHORTER_SIDE if found_way.side else Resize.STRETCH
    resizing = Resizing(policy, found_way.side, _WAYS[resample], background="", floor_crop=found_way.side > 0)
    return replace(said, size=found_way.size, resizing=resizing)


def _problem(origin: str, why: str) -> str:
    return (
        f"{origin}: {why}; say the nearest with --resize, --resize-to and --interpolation, and compare it with "
        f"--check DIR"
    )


def _numbers(found: Mapping[str, Any], kind: str, usual: _Defaults | None) -> tuple[Numbers, Numbers, bool]:
    """Mean, deviation, and whether blue is first; in the network's order."""
    numbers = usual.numbers if usual else None
    usual_mean, usual_std = numbers or _HALF
    mean, std = _per_channel(found.get("image_mean"), usual_mean), _per_channel(found.get("image_std"), usual_std)
    divided = std
    if not found.get("do_normalize", numbers is not None):
        mean, divided = (0.0,) * len(mean), (1.0,) * len(std)
    if kind == "EfficientNet":
        if found.get("rescale_offset"):
            mean = tuple(number + 1 for number in mean)
        if found.get("include_top", True):  # it divides once more
            divided = tuple(first * second for first, second in zip(divided, std, strict=True))
    if found.get("do_flip_channel_order", kind == "MobileViT"):
        return mean[::-1], divided[::-1], True
    return mean, divided, False


def _per_channel(said: object, usual: Numbers) -> Numbers:
    if said is None:
        return usual
    if isinstance(said, int | float):
        return (float(said),) * len(usual)
    if not isinstance(said, list | tuple) or len(said) not in (1, 3):
        raise ValueError(f"expected a number for each of three channels, got {said!r}")
    return tuple(map(float, said))


@dataclass(frozen=True)
class _Way:
    """To the `size`: by the shorter `side`, 0: stretched. `why` it cannot be had."""

    size: Size | None
    side: int = 0
    why: str = ""


def _geometry(found: Mapping[str, Any], kind: str, usual: _Defaults) -> _Way:
    said = found.get("size")
    size = usual.size if said is None else _size(said, is_square=not isinstance(usual.size, int))
    does_crop = found.get("do_center_crop", usual.crop is not None)
    crop = _size(found.get("crop_size") or usual.crop or 224, is_square=True) if does_crop else None
    if isinstance(crop, int) or size is None:
        return _Way(None, why=f"its sizes {said!r} and {found.get('crop_size')!r} are none that Covey knows")
    if found.get("do_resize") is False:
        return _Way(crop, why="it takes images as they are (do_resize is false), which have any size")
    if found.get("do_pad"):
        return _Way(crop, why="it pads images (do_pad)")
    share = found.get("crop_pct", usual.crop_pct)
    if kind == "ConvNext" and isinstance(size, int):
        if size >= _STRETCH_FROM:
            return _Way((size, size))
        size, crop = int(size / float(share or 224 / 256)), (size, size)
    elif kind == "PoolFormer" and share is not None:
        size = int((size if isinstance(size, int) else size[0]) / float(share))
    elif kind == "Levit" and isinstance(size, int):
        size = int((256 / 224) * size)
    if isinstance(size, int):
        if crop is None:
            return _Way(None, why=f"it resizes the shorter side to {size} and cuts nothing out, so that sizes differ")
        if size < max(crop):
            return _Way(crop, why=f"it resizes the shorter side to {size} and pads that to {crop[0]}x{crop[1]}")
        return _Way(crop, size)
    if crop not in (None, size):
        return _Way(crop, why=f"it stretches images to {size[0]}x{size[1]} and cuts {crop[0]}x{crop[1]} out of that")
    return _Way(size)


def _size(said: object, *, is_square: bool) -> int | Size | None:
    """Height and width, or the shorter side; None: something else. A single number may be either."""
    if isinstance(said, int):
        return (said, said) if is_square else said
    if isinstance(said, list | tuple) and len(said) == 2:
        return int(said[0]), int(said[1])
    if isinstance(said, dict) and said.get("height") and said.get("width"):
        return int(said["height"]), int(said["width"])
    if isinstance(said, dict) and said.get("shortest_edge") and not said.get("longest_edge"):
        return int(said["shortest_edge"])
    return None
