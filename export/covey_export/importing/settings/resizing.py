"""How encoded images are brought to the network's size by the server, as ImageSpec says it."""

from __future__ import annotations

from dataclasses import dataclass

from covey_export.importing.graphs.signature import Signature
from covey_export.importing.settings.preset import Preset
from covey_proto import colours, interpolation, resize
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize
from covey_proto.v1.classifier_pb2 import ImageSpec

_KEPT = 0.875  # of the shorter side, as torchvision's 224 of 256
_CROPS = ("imagenet", "caffe")  # presets whose networks were tested on centre crops


@dataclass(frozen=True)
class Resizing:
    """How an image is resized. `resize_to` is the length of the shorter side for SHORTER_SIDE, in pixels. Without a
    `background`, alpha is dropped."""

    policy: Resize
    resize_to: int = 0
    interpolation: Interpolation = Interpolation.BILINEAR
    background: str = colours.WHITE
    pad: str = ""
    ignore_exif: bool = False
    exact: bool = False
    floor_crop: bool = False  # as Hugging Face cuts; see InputSpec

    def message(self, signature: Signature, preset: Preset) -> ImageSpec:
        """The settings as the model's file has them."""
        mean, std = preset.mean_and_std_of_rgb()
        is_plain = signature.datatype == "UINT8"
        return ImageSpec(
            height=signature.height,
            width=signature.width,
            channels=signature.channels,
            resize=resize.to_message(self.policy),
            crop=1.0,
            background=self.background,
            mean=() if is_plain else mean,
            std=() if is_plain else std,
            resize_to=self.resize_to if self.policy is Resize.SHORTER_SIDE else 0,
            interpolation=interpolation.to_message(self.interpolation),
            pad=self.pad if self.policy is Resize.PAD else "",
            ignore_exif=self.ignore_exif,
            exact=self.exact,
            floor_crop=self.floor_crop,
            colour_order="" if signature.channels == 1 else "bgr" if preset.bgr else "rgb",
        )

    def describe(self, signature: Signature) -> str:
        """For people, in one line."""
        size = f"{signature.height}x{signature.width}"
        how = {
            Resize.STRETCH: f"stretched to {size}",
            Resize.CENTER_CROP: f"the largest centred part, resized to {size}",
            Resize.SHORTER_SIDE: f"shorter side to {self.resize_to}, then the centred {size}",
            Resize.PAD: f"fitted into {size}, the rest {self.pad or colours.BLACK}",
        }[self.policy]
        return f"{how}, {self.interpolation.value}"


def usual_policy(preset: Preset) -> Resize:
    """The policy where the user does not say one."""
    return Resize.SHORTER_SIDE if preset.name in _CROPS else Resize.STRETCH


def usual_length(signature: Signature) -> int:
    """The usual length of the shorter side before the centre is cut out: 256 for 224."""
    return round(max(signature.height, signature.width) / _KEPT)
