"""timm's `pretrained_cfg`: how images are prepared for its networks, and the labels in its config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from covey_export.errors import InvalidSource
from covey_export.importing.settings.preset import PRESETS
from covey_export.importing.settings.resizing import Resizing
from covey_export.importing.sources.contract import Contract, preset_of
from covey_proto import interpolation
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

_IMAGENET = PRESETS["imagenet"]
_CROP_PCT = 0.875  # timm's, where a network says none


def read(settings: Mapping[str, Any], origin: str, size: tuple[int, int] | None = None) -> Contract:
    """Reads a pretrained_cfg; `size` (height, width) is another one than it names.

    Computes what timm.data.create_transform does for evaluation. Raises InvalidSource where it is none.
    """
    try:
        channels, height, width = map(int, settings.get("input_size") or (3, 224, 224))
        height, width = size or (height, width)
        mean = tuple(map(float, settings.get("mean") or _IMAGENET.mean))
        std = tuple(map(float, settings.get("std") or _IMAGENET.std))
        share = float(settings.get("crop_pct") or _CROP_PCT)
        mode = str(settings.get("crop_mode") or "center")
        filter_name = str(settings.get("interpolation") or "bicubic")
        scaled = (math.floor(height / share), math.floor(width / share))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise InvalidSource(
            f"{origin}: expected timm's settings (input_size, mean, std, crop_pct, interpolation), got {error}; fetch "
            f"the file again, or say how images are prepared with --like and --resize"
        ) from error
    contract = Contract(
        origin,
        f"crop_pct {share:g}, crop_mode {mode}, interpolation {filter_name}",
        (height, width),
        preset_of(mean, std) if len(mean) in (1, channels) else None,
    )
    method = {known.value: known for known in interpolation.KNOWN}.get(filter_name)
    resizing = _resizing(mode, scaled, (height, width), mean, method or Interpolation.BILINEAR)
    if method is None or resizing is None:
        return replace(
            contract,
            problem=(
                f"{origin}: its images of {height}x{width} are prepared with crop_mode {mode}, crop_pct {share:g} and "
                f"interpolation {filter_name}, which Covey does not have; say the nearest with --resize and "
                f"--interpolation, and compare with --check"
            ),
        )
    return replace(contract, resizing=resizing)


def _resizing(
    mode: str, scaled: tuple[int, int], size: tuple[int, int], mean: tuple[float, ...], method: Interpolation
) -> Resizing | None:
    """The resizing; None where Covey has no such way. timm drops alpha: its images are converted to RGB."""
    if mode == "squash":
        return Resizing(Resize.STRETCH, interpolation=method, background="") if scaled == size else None
    if mode == "border":
        colour = "#" + "".join(f"{min(255, max(0, round(255 * number))):02x}" for number in (*mean, *mean, *mean)[:3])
        return Resizing(Resize.PAD, interpolation=method, background="", pad=colour) if scaled == size else None
    if size[0] != size[1] or scaled[0] < size[0]:
        return None
    return Resizing(Resize.SHORTER_SIDE, scaled[0], method, background="")


def labels(config: Mapping[str, Any]) -> list[str] | None:
    """The outputs' labels: descriptions where config.json has them, else names; None where it has none."""
    inner = config.get("pretrained_cfg")
    inner = inner if isinstance(inner, dict) else {}
    names = config.get("label_names") or inner.get("label_names")
    if isinstance(names, dict) and set(names) == {str(index) for index in range(len(names))}:
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    descriptions = config.get("label_descriptions") or inner.get("label_descriptions")
    if not isinstance(descriptions, dict):
        return names
    return [str(descriptions.get(name, name)) for name in names]
