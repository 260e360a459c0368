"""The ways to compute pixels when an image's size changes, as Pillow names them."""

from __future__ import annotations

import enum

from covey_proto.v1.classifier_pb2 import ImageSpec


class Interpolation(enum.Enum):
    """One way; its value is the word that command lines take. All but NEAREST are antialiased."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"
    NEAREST = "nearest"
    UNKNOWN = "unknown"  # of a newer Covey than this one


_NUMBERS = {
    Interpolation.BILINEAR: ImageSpec.INTERPOLATION_BILINEAR,
    Interpolation.BICUBIC: ImageSpec.INTERPOLATION_BICUBIC,
    Interpolation.LANCZOS: ImageSpec.INTERPOLATION_LANCZOS,
    Interpolation.NEAREST: ImageSpec.INTERPOLATION_NEAREST,
}
_WAYS: dict[int, Interpolation] = {number: way for way, number in _NUMBERS.items()}
KNOWN = tuple(_NUMBERS)  # all but UNKNOWN


def to_message(way: Interpolation) -> ImageSpec.Interpolation:
    """The number of a known way in a message and in a model's file."""
    return _NUMBERS[way]


def from_message(number: int) -> Interpolation | None:
    """The way of a number; None where the message does not say, which means bilinear; UNKNOWN where there is none."""
    if number == ImageSpec.INTERPOLATION_UNSPECIFIED:
        return None
    return _WAYS.get(number, Interpolation.UNKNOWN)
