"""What was done to pixels before the original network: scale, mean, deviation, order of colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = tuple[float, ...]

_PIXEL = 1 / 255
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CAFFE_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Preset:
    """A channel of the network's input is (pixel * `scale` - mean) / std, pixels being 0..255.

    `mean` and `std` have one number, or one for each channel in the network's own order: blue first where it takes
    `bgr`.
    """

    name: str
    mean: Numbers = (0.0,)
    std: Numbers = (1.0,)
    scale: float = _PIXEL
    bgr: bool = False

    def factors(self, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Factor and shift, `[C] float32` each, in the network's order: its input is pixel * factor + shift."""
        mean = np.broadcast_to(np.array(self.mean, np.float64), channels)
        std = np.broadcast_to(np.array(self.std, np.float64), channels)
        return (self.scale / std).astype(np.float32), (-mean / std).astype(np.float32)

    def mean_and_std_of_rgb(self) -> tuple[Numbers, Numbers]:
        """Mean and deviation of pixels of 0..1, red first, as ImageSpec has them."""
        unit = self.scale * 255
        mean, std = (tuple(number / unit for number in channels) for channels in (self.mean, self.std))
        return (mean[::-1], std[::-1]) if self.bgr else (mean, std)

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network takes for `[N, H, W, C] uint8`, RGB: `[N, H, W, C] float32` in its colour order. Computed as
        the usual pipelines do, step by step, and not as the imported graph does."""
        pixels = images[..., ::-1] if self.bgr else images
        scaled = pixels.astype(np.float32) * np.float32(self.scale)
        moved = scaled - np.array(self.mean, np.float32)
        return (moved / np.array(self.std, np.float32)).astype(np.float32)

    def describe(self, channels: int) -> str:
        """For people, in one line."""
        order = "grey" if channels == 1 else "BGR" if self.bgr else "RGB"
        if self.name == NONE.name:
            return f"{order} pixels as they are, 0..255"
        top = self.scale * 255
        scaled = f"scaled to 0..{top:g}" if top != 255 else "of 0..255"
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in (self.mean, self.std))
        less = "" if not any(self.mean) else f", mean {mean} subtracted"
        divided = "" if set(self.std) == {1.0} else f", divided by {std}"
        return f"{order} pixels {scaled}{less}{divided}"


NONE = Preset("none", scale=1.0)  # of networks that take uint8
PRESETS = {
    preset.name: preset
    for preset in (
        Preset("imagenet", *_IMAGENET),
        Preset("0..1"),
        Preset("-1..1", (0.5,), (0.5,)),
        Preset("0..255", scale=1.0),
        Preset("caffe", _CAFFE_BGR, scale=1.0, bgr=True),
    )
}


def swapped(preset: Preset) -> Preset:
    """The same numbers for the same colours, with red and blue swapped."""
    return replace(preset, mean=preset.mean[::-1], std=preset.std[::-1], bgr=not preset.bgr)
