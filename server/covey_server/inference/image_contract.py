"""How images are brought to a model's size, as its file says: an ImageSpec that was checked becomes an InputSpec.

What the server cannot do, or what contradicts itself, is refused: passed over, it would only make answers worse.
"""

from __future__ import annotations

from collections.abc import Iterable

from covey_proto import colours, interpolation, metadata, resize
from covey_proto.colours import Colour
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec
from covey_server.errors import RefusedModel
from covey_server.images.input_spec import BLACK, InputSpec

MAX_RESIZE_TO = 16_384  # pixels; nobody enlarges images more before cutting out what a model takes


def read(said: ImageSpec) -> InputSpec:
    """The input of a model's file. Raises RefusedModel."""
    policy = resize.from_message(said.resize)
    if policy is Resize.UNKNOWN:
        raise _unknown("resize policy", said.resize, map(resize.to_message, resize.KNOWN))
    way = interpolation.from_message(said.interpolation)
    if way is Interpolation.UNKNOWN:
        raise _unknown("interpolation", said.interpolation, map(interpolation.to_message, interpolation.KNOWN))
    return InputSpec(
        said.height,
        said.width,
        said.channels,
        policy,
        _crop(said, policy),
        _colour("background", said.background),
        resize_to=_resize_to(said, policy),
        interpolation=way,
        pad=_colour("pad", said.pad) or BLACK,
        ignore_exif=said.ignore_exif,
        exact=said.exact,
        floor_crop=said.floor_crop,
    )


def _crop(said: ImageSpec, policy: Resize) -> float:
    crop = said.crop or 1.0  # 0: not said
    if not 0 < crop <= 1:  # NaN is refused too
        raise RefusedModel(
            f"a crop of {crop:g} in metadata {metadata.KEY}; expected a share above 0, to 1. Convert the model again"
        )
    if crop != 1 and policy in (Resize.SHORTER_SIDE, Resize.PAD):
        raise RefusedModel(
            f"a crop of {crop:g} in metadata {metadata.KEY} beside the resize policy {policy.value}, which has none; "
            f"expected {Resize.CENTER_CROP.value}, or no crop. Convert the model again"
        )
    return crop


def _resize_to(said: ImageSpec, policy: Resize) -> int:
    """The shorter side in pixels; 0 where the policy has none."""
    if policy is not Resize.SHORTER_SIDE:
        if said.resize_to:
            raise RefusedModel(
                f"a shorter side of {said.resize_to:,} pixels (resize_to) in metadata {metadata.KEY} beside the resize "
                f"policy {policy.value}, which has none; expected {Resize.SHORTER_SIDE.value}, or no resize_to. "
                f"Convert the model again"
            )
        return 0
    least = max(said.height, said.width)
    if not least <= said.resize_to <= MAX_RESIZE_TO:
        raise RefusedModel(
            f"a shorter side of {said.resize_to:,} pixels (resize_to) in metadata {metadata.KEY}; expected "
            f"{least:,} to {MAX_RESIZE_TO:,}, so that {said.height} x {said.width} can be cut out. "
            f"Convert the model again"
        )
    return said.resize_to


def _colour(name: str, text: str) -> Colour | None:
    try:
        return colours.parse(text) if text else None
    except ValueError as error:
        raise RefusedModel(f"{name} in metadata {metadata.KEY}: {error}; convert the model again") from error


def _unknown(what: str, number: int, known: Iterable[int]) -> RefusedModel:
    return RefusedModel(
        f"{what} {number} is not known here, only {', '.join(map(str, known))}; "
        f"the model needs a newer server, or was not made by Covey"
    )
