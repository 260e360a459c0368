"""The resize policies: how an image comes to a model's height and width. A new one gets its number in
v1/classifier.proto, a line here, and its arithmetic in the server's images/resizing.py."""

from __future__ import annotations

import enum

from covey_proto.v1.classifier_pb2 import ImageSpec


class Resize(enum.Enum):
    """One policy; its value is the word that command lines take."""

    STRETCH = "stretch"  # whatever its aspect ratio
    CENTER_CROP = "center_crop"  # the largest centred part of the right aspect ratio, then resized
    SHORTER_SIDE = "shorter_side"  # the shorter side to a given length, then the centre is cut out: torchvision's way
    PAD = "pad"  # to fit within, centred; the rest has one colour
    UNKNOWN = "unknown"  # of a newer Covey than this one


_NUMBERS = {
    Resize.STRETCH: ImageSpec.RESIZE_STRETCH,
    Resize.CENTER_CROP: ImageSpec.RESIZE_CENTER_CROP,
    Resize.SHORTER_SIDE: ImageSpec.RESIZE_SHORTER_SIDE,
    Resize.PAD: ImageSpec.RESIZE_PAD,
}
_POLICIES: dict[int, Resize] = {number: policy for policy, number in _NUMBERS.items()}
KNOWN = tuple(_NUMBERS)  # all but UNKNOWN


def to_message(policy: Resize) -> ImageSpec.Resize:
    """The number of a known policy in a message and in a model's file."""
    return _NUMBERS[policy]


def from_message(number: int) -> Resize:
    """The policy of a number; UNKNOWN where there is none."""
    return _POLICIES.get(number, Resize.UNKNOWN)
