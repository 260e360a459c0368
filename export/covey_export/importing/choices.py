"""From options to what is done to pixels: what the user says, and what is assumed where they say nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from covey_export.errors import ExportError
from covey_export.importing import resizing
from covey_export.importing.preset import NONE, PRESETS, Preset, swapped
from covey_export.importing.resizing import Resizing
from covey_export.importing.signature import Signature
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize


@dataclass(frozen=True)
class Choice:
    """What is done to images. `assumed` is what the user did not say, each with what it may cost."""

    preset: Preset
    resizing: Resizing
    assumed: tuple[str, ...]


def choose(options: argparse.Namespace, signature: Signature) -> Choice:
    """Raises ExportError for options that do not go together, or not with the network."""
    preset, is_said = _preset(options, signature)
    policy = Resize(options.resize) if options.resize else resizing.usual_policy(preset)
    if options.resize_to is not None and policy is not Resize.SHORTER_SIDE:
        raise ExportError(f"--resize-to goes with --resize shorter_side, not with {policy.value}")
    if options.pad is not None and policy is not Resize.PAD:
        raise ExportError(f"--pad goes with --resize pad, not with {policy.value}; --background is for transparency")
    length = options.resize_to or resizing.usual_length(signature)
    if policy is Resize.SHORTER_SIDE and length < max(signature.height, signature.width):
        raise ExportError(
            f"--resize-to {length}: expected {max(signature.height, signature.width)} or more, as the network's "
            f"{signature.height}x{signature.width} is cut out of it"
        )
    chosen = Resizing(
        policy,
        length if policy is Resize.SHORTER_SIDE else 0,
        Interpolation(options.interpolation),
        options.background,
        options.pad or "",
        options.ignore_exif,
        options.exact,
    )
    return Choice(preset, chosen, tuple(_assumed(options, preset, chosen, signature, is_said=is_said)))


def _preset(options: argparse.Namespace, signature: Signature) -> tuple[Preset, bool]:
    """And whether the user said it."""
    numbers = {flag: value for flag in ("mean", "std", "scale") if (value := getattr(options, flag)) is not None}
    said = [f"--{flag}" for flag in numbers]
    if options.bgr and signature.channels == 1:
        raise ExportError("--bgr is for networks of colour images; this one takes grey ones")
    if signature.datatype == "UINT8":
        if said or options.like:
            raise ExportError(
                f"the network takes whole numbers of 0..255 (uint8) and scales them itself; omit "
                f"{', '.join([*said, *(['--like'] if options.like else [])])}"
            )
        return Preset(NONE.name, scale=1.0, bgr=bool(options.bgr)), True
    if numbers and options.like:
        raise ExportError(f"--like {options.like} stands for a mean, a deviation and a scale; omit it, or {said[0]}")
    if numbers:
        return _of_numbers(options, signature), True
    name = options.like or ("imagenet" if signature.channels == 3 else "0..1")
    preset = PRESETS[name]
    if signature.channels == 1 and len(preset.mean) == 3:
        raise ExportError(
            f"--like {name} is for colour images; this network takes grey ones. Say --like 0..1 or -1..1, or --mean "
            f"and --std"
        )
    if options.bgr is not None and options.bgr != preset.bgr and signature.channels == 3:
        preset = swapped(preset)
    return preset, options.like is not None


def _of_numbers(options: argparse.Namespace, signature: Signature) -> Preset:
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


def _assumed(
    options: argparse.Namespace, preset: Preset, chosen: Resizing, signature: Signature, *, is_said: bool
) -> Iterator[str]:
    if signature.is_size_assumed:
        yield (
            f"the file takes images of any size, and no --image-size was given; assumed is "
            f"{signature.height}x{signature.width}, as most networks were trained. Another size than in training costs "
            f"some accuracy"
        )
    if not is_said:
        usual = "as torchvision's and timm's networks were trained" if preset.name == "imagenet" else "the usual range"
        fitting = [each.name for each in PRESETS.values() if len(each.mean) in (1, signature.channels)]
        others = " | ".join(name for name in fitting if name != preset.name)
        yield (
            f"no preprocessing was given; assumed is {preset.name}, {usual}. If the network was trained otherwise, "
            f"many answers are wrong without any error: say --like {others}, or --mean, --std, --scale and --bgr; "
            f"--check DIR compares them on labelled images"
        )
    if options.resize is None:
        yield (
            f"no --resize was given; assumed is {chosen.policy.value}: {chosen.describe(signature)}. Another way "
            f"than in training costs some accuracy"
        )
