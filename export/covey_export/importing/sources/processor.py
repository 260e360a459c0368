"""Reads Hugging Face's preprocessor_config.json: how images are prepared, computed without transformers.

Files written by older versions leave out what their processor has by default: the defaults are here, by processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from covey_export.errors import InvalidSource
from covey_export.importing.settings.preset import PRESETS, Numbers
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources.contract import Contract, preset_of
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
    """The defaults of one processor. A `size` of one number is the shorter side; `crop` is what is cut out, None:
    nothing."""

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


def read(settings: Mapping[str, Any], origin: str, model_type: str = "") -> Contract:
    """Reads the contract. `settings` are the file's content, `model_type` is that of config.json.

    Raises InvalidSource where it is no preprocessor_config.json.
    """
    processor = str(settings.get("image_processor_type") or settings.get("feature_extractor_type") or "")
    kind = _kind(processor) or _OF_MODELS.get(model_type, "")
    try:
        return _read(settings, origin, kind, processor or f"the processor of {model_type or 'an unknown network'}")
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise InvalidSource(
            f"{origin}: expected the settings of an image processor (size, image_mean, image_std, resample), got "
            f"{type(error).__name__}: {error}; fetch the file again, or say how images are prepared with --like and "
            f"--resize"
        ) from error


def _kind(processor: str) -> str:
    for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
        processor = processor.removesuffix(ending)
    return processor


def _read(settings: Mapping[str, Any], origin: str, kind: str, processor: str) -> Contract:
    defaults = _PROCESSORS.get(kind)
    mean, std, bgr = _numbers(settings, kind, defaults)
    factor = 1.0 if settings.get("do_rescale") is False else float(settings.get("rescale_factor") or 1 / 255)
    contract = Contract(origin, processor, preset=preset_of(mean, std, scale=factor, bgr=bgr))
    if defaults is None:
        return replace(
            contract, problem=_problem(origin, f"{processor} prepares images in a way that Covey does not know")
        )
    resample = int(settings.get("resample", defaults.resample))
    geometry = _geometry(settings, kind, defaults)
    if resample not in _WAYS:
        geometry = replace(geometry, problem=f"resample {resample} is an interpolation that Covey does not have")
    if geometry.problem:
        return replace(contract, size=geometry.size, problem=_problem(origin, geometry.problem))
    policy = Resize.SHORTER_SIDE if geometry.side else Resize.STRETCH
    resizing = Resizing(policy, geometry.side, _WAYS[resample], background="", floor_crop=geometry.side > 0)
    return replace(contract, size=geometry.size, resizing=resizing)


def _problem(origin: str, reason: str) -> str:
    return (
        f"{origin}: {reason}; say the nearest with --resize, --resize-to and --interpolation, and compare it with "
        f"--check DIR"
    )


def _numbers(settings: Mapping[str, Any], kind: str, defaults: _Defaults | None) -> tuple[Numbers, Numbers, bool]:
    """Mean, deviation, and whether blue is first; in the network's order."""
    numbers = defaults.numbers if defaults else None
    usual_mean, usual_std = numbers or _HALF
    mean, std = _per_channel(settings.get("image_mean"), usual_mean), _per_channel(settings.get("image_std"), usual_std)
    divided = std
    if not settings.get("do_normalize", numbers is not None):
        mean, divided = (0.0,) * len(mean), (1.0,) * len(std)
    if kind == "EfficientNet":
        if settings.get("rescale_offset"):
            mean = tuple(number + 1 for number in mean)
        if settings.get("include_top", True):  # it divides once more
            divided = tuple(first * second for first, second in zip(divided, std, strict=True))
    if settings.get("do_flip_channel_order", kind == "MobileViT"):
        return mean[::-1], divided[::-1], True
    return mean, divided, False


def _per_channel(value: object, default: Numbers) -> Numbers:
    if value is None:
        return default
    if isinstance(value, int | float):
        return (float(value),) * len(default)
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        raise ValueError(f"expected a number for each of three channels, got {value!r}")
    return tuple(map(float, value))


@dataclass(frozen=True)
class _Geometry:
    """How images get to `size`: the shorter side is resized to `side`, or the image is stretched (0). `problem` says
    why that cannot be done here."""

    size: Size | None
    side: int = 0
    problem: str = ""


def _geometry(settings: Mapping[str, Any], kind: str, defaults: _Defaults) -> _Geometry:
    size_setting = settings.get("size")
    size = defaults.size if size_setting is None else _size(size_setting, is_square=not isinstance(defaults.size, int))
    does_crop = settings.get("do_center_crop", defaults.crop is not None)
    crop = _size(settings.get("crop_size") or defaults.crop or 224, is_square=True) if does_crop else None
    if isinstance(crop, int) or size is None:
        return _Geometry(
            None, problem=f"its sizes {size_setting!r} and {settings.get('crop_size')!r} are none that Covey knows"
        )
    if settings.get("do_resize") is False:
        return _Geometry(crop, problem="it takes images as they are (do_resize is false), which have any size")
    if settings.get("do_pad"):
        return _Geometry(crop, problem="it pads images (do_pad)")
    share = settings.get("crop_pct", defaults.crop_pct)
    if kind == "ConvNext" and isinstance(size, int):
        if size >= _STRETCH_FROM:
            return _Geometry((size, size))
        size, crop = int(size / float(share or 224 / 256)), (size, size)
    elif kind == "PoolFormer" and share is not None:
        size = int((size if isinstance(size, int) else size[0]) / float(share))
    elif kind == "Levit" and isinstance(size, int):
        size = int((256 / 224) * size)
    if isinstance(size, int):
        if crop is None:
            return _Geometry(
                None, problem=f"it resizes the shorter side to {size} and cuts nothing out, so that sizes differ"
            )
        if size < max(crop):
            return _Geometry(
                crop, problem=f"it resizes the shorter side to {size} and pads that to {crop[0]}x{crop[1]}"
            )
        return _Geometry(crop, size)
    if crop not in (None, size):
        return _Geometry(
            crop, problem=f"it stretches images to {size[0]}x{size[1]} and cuts {crop[0]}x{crop[1]} out of that"
        )
    return _Geometry(size)


def _size(setting: object, *, is_square: bool) -> int | Size | None:
    """Height and width, or the shorter side; None: something else. A single number may be either."""
    if isinstance(setting, int):
        return (setting, setting) if is_square else setting
    if isinstance(setting, list | tuple) and len(setting) == 2:
        return int(setting[0]), int(setting[1])
    if isinstance(setting, dict) and setting.get("height") and setting.get("width"):
        return int(setting["height"]), int(setting["width"])
    if isinstance(setting, dict) and setting.get("shortest_edge") and not setting.get("longest_edge"):
        return int(setting["shortest_edge"])
    return None
