"""Turns options into how images are prepared: what the user says, and what is assumed otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

from covey_export.errors import ExportError
from covey_export.importing.graphs.signature import Signature
from covey_export.importing.settings.preset import NONE, PRESETS, Preset, swapped
from covey_export.importing.settings.resizing import Resizing, usual_length, usual_policy
from covey_export.importing.sources.contract import NOTHING, Contract
from covey_proto import colours
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize


@dataclass(frozen=True)
class Choice:
    """How images are prepared. `assumed` are sentences on what neither the user nor the source said and what that may
    cost; `preset_from` and `resizing_from` say where the settings come from."""

    preset: Preset
    resizing: Resizing
    assumed: tuple[str, ...]
    preset_from: str
    resizing_from: str


_ASSUMED = "assumed"


def choose(options: argparse.Namespace, signature: Signature, contract: Contract = NOTHING) -> Choice:
    """Chooses how images are prepared. Options go before the source's `contract`.

    Raises ExportError for options that do not go together, or not with the network.
    """
    preset, preset_from = _preset(options, signature, contract)
    resizing, resizing_from = _resizing(options, signature, contract, preset)
    assumed = tuple(_assumptions(preset, preset_from, resizing, resizing_from, signature, contract))
    return Choice(preset, resizing, assumed, preset_from, resizing_from)


def _resizing(
    options: argparse.Namespace, signature: Signature, contract: Contract, preset: Preset
) -> tuple[Resizing, str]:
    if options.resize is None and contract.problem:
        raise ExportError(contract.problem)
    base = contract.resizing if options.resize is None else None
    if base is not None and contract.size not in (None, (signature.height, signature.width)):
        if options.image_size is None:
            raise ExportError(
                f"{contract.origin} prepares images of {contract.size[0]}x{contract.size[1]}, the network takes "
                f"{signature.height}x{signature.width}; say how images come to that with --resize"
            )
        if base.policy is Resize.SHORTER_SIDE:  # the same share of the image for another size
            base = replace(base, resize_to=round(base.resize_to * max(options.image_size) / max(contract.size)))
    if base is not None:
        resizing_from = f"{contract.origin}: {contract.detail}" if contract.detail else contract.origin
    else:
        resizing_from = "--resize" if options.resize else _ASSUMED
    if base is None:
        policy = Resize(options.resize) if options.resize else usual_policy(preset)
        base = Resizing(policy, usual_length(signature), background=_background(contract))
    if options.resize_to is not None and base.policy is not Resize.SHORTER_SIDE:
        raise ExportError(f"--resize-to goes with --resize shorter_side, not with {base.policy.value}")
    if options.pad is not None and base.policy is not Resize.PAD:
        raise ExportError(
            f"--pad goes with --resize pad, not with {base.policy.value}; --background is for transparency"
        )
    length = options.resize_to or base.resize_to
    if base.policy is Resize.SHORTER_SIDE and length < max(signature.height, signature.width):
        raise ExportError(
            f"--resize-to {length}: expected {max(signature.height, signature.width)} or more, as the network's "
            f"{signature.height}x{signature.width} is cut out of it"
        )
    resizing = replace(
        base,
        resize_to=length if base.policy is Resize.SHORTER_SIDE else 0,
        interpolation=Interpolation(options.interpolation) if options.interpolation else base.interpolation,
        background=base.background if options.background is None else options.background,
        pad=options.pad or base.pad,
        ignore_exif=options.ignore_exif,
        exact=options.exact,
    )
    return resizing, resizing_from


def _background(contract: Contract) -> str:
    """The source's background, whatever resizing the user says: a library that drops transparency always does so."""
    return contract.resizing.background if contract.resizing is not None else colours.WHITE


def _preset(options: argparse.Namespace, signature: Signature, contract: Contract) -> tuple[Preset, str]:
    """The preset, and where it comes from."""
    numbers = {flag: value for flag in ("mean", "std", "scale") if (value := getattr(options, flag)) is not None}
    flags = [f"--{flag}" for flag in numbers]
    like = options.like if isinstance(options.like, str) else None
    if options.bgr and signature.channels == 1:
        raise ExportError("--bgr is for networks of colour images; this one takes grey ones")
    if signature.datatype == "UINT8":
        if flags or like:
            raise ExportError(
                f"the network takes whole numbers of 0..255 (uint8) and scales them itself; omit "
                f"{', '.join([*flags, *(['--like'] if like else [])])}"
            )
        return Preset(NONE.name, scale=1.0, bgr=bool(options.bgr)), "uint8 input"
    if numbers and options.like:
        raise ExportError(f"--like {options.like} stands for a mean, a deviation and a scale; omit it, or {flags[0]}")
    if numbers:
        return _preset_of_numbers(options, signature), ", ".join(flags)
    if like is None and contract.preset is not None:
        preset, origin = contract.preset, contract.origin
    else:
        preset = PRESETS[like or ("imagenet" if signature.channels == 3 else "0..1")]
        origin = f"--like {like}" if like else _ASSUMED
    if signature.channels == 1 and len(preset.mean) == 3:
        raise ExportError(
            f"{origin} is for colour images; this network takes grey ones. Say --like 0..1 or -1..1, or --mean "
            f"and --std"
        )
    if options.bgr is not None and options.bgr != preset.bgr and signature.channels == 3:
        preset = swapped(preset)
    return preset, origin


def _preset_of_numbers(options: argparse.Namespace, signature: Signature) -> Preset:
    mean, std = options.mean or (0.0,), options.std or (1.0,)
    scale = options.scale or 1 / 255
    for flag, values in (("--mean", mean), ("--std", std)):
        if len(values) not in (1, signature.channels):
            raise ExportError(f"{flag} has {len(values)} numbers; expected 1, or {signature.channels}: one per channel")
    if min(std) <= 0:
        raise ExportError("--std has a number that is not above 0; pixels are divided by it")
    if options.scale is None and max(map(abs, (*mean, *std))) > 2:
        raise ExportError(
            "--mean and --std are of pixels scaled to 0..1, and some here are above 2; for numbers of pixels of 0..255 "
            "say --scale 1"
        )
    return Preset("numbers", mean, std, scale, bool(options.bgr) and signature.channels == 3)


def _assumptions(
    preset: Preset,
    preset_from: str,
    resizing: Resizing,
    resizing_from: str,
    signature: Signature,
    contract: Contract,
) -> Iterator[str]:
    if signature.is_size_assumed and contract.size is None:
        yield (
            f"the file takes images of any size, and no --image-size was given; assumed is "
            f"{signature.height}x{signature.width}, as most networks were trained. Another size than in training costs "
            f"some accuracy"
        )
    if contract.assumption and (preset_from == contract.origin or resizing_from not in (_ASSUMED, "--resize")):
        yield contract.assumption
    if preset_from == _ASSUMED:
        description = (
            "as torchvision's and timm's networks were trained" if preset.name == "imagenet" else "the usual range"
        )
        fitting = [known.name for known in PRESETS.values() if len(known.mean) in (1, signature.channels)]
        others = " | ".join(name for name in fitting if name != preset.name)
        yield (
            f"no preprocessing was given; assumed is {preset.name}, {description}. If the network was trained "
            f"otherwise, many answers are wrong without any error: say --like {others}, or --mean, --std, --scale and "
            f"--bgr; --check DIR compares them on labelled images"
        )
    if resizing_from == _ASSUMED:
        yield (
            f"no --resize was given; assumed is {resizing.policy.value}: {resizing.describe(signature)}. Another way "
            f"than in training costs some accuracy"
        )
