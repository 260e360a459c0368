"""Changes images in four ways, each at three strengths, by code of this file, so that anybody gets the same ones.

The kinds are those of Hendrycks, Dietterich: Benchmarking neural network robustness to common corruptions and
perturbations (2019), the strengths our own: a person still reads a digit of strength 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageFilter

from covey_export.datasets.dataset import Images
from covey_reports.language import say

STRENGTHS = (1, 2, 3)
_NOISE = (0.1, 0.2, 0.3)  # standard deviation, of pixels from 0 to 1
_BLUR = (0.03, 0.05, 0.08)  # radius, as a share of the shorter side
_ROTATION = (15.0, 30.0, 45.0)  # degrees, to either side
_CONTRAST = (0.5, 0.3, 0.15)  # what is left of each pixel's distance to the image's mean


def _noise(images: Images, strength: int) -> Images:
    noise = np.random.default_rng(0).normal(0, 255 * _NOISE[strength - 1], images.shape)
    return np.asarray(np.clip(images + noise, 0, 255).round(), np.uint8)


def _blur(images: Images, strength: int) -> Images:
    blur = ImageFilter.GaussianBlur(_BLUR[strength - 1] * min(images.shape[1:3]))
    return _map_images(images, lambda image, _: image.filter(blur))


def _rotation(images: Images, strength: int) -> Images:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], len(images))
    edges = np.concatenate(
        [images[:, [0, -1]].reshape(len(images), -1), images[:, :, [0, -1]].reshape(len(images), -1)], axis=1
    )
    fill = np.median(edges.reshape(len(images), -1, images.shape[3]), axis=1).astype(int)  # what the image ends in

    def rotate(image: Image.Image, index: int) -> Image.Image:
        colour = tuple(fill[index].tolist())
        angle = _ROTATION[strength - 1] * signs[index]
        return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=colour if len(colour) > 1 else colour[0])

    return _map_images(images, rotate)


def _contrast(images: Images, strength: int) -> Images:
    means = images.mean(axis=(1, 2, 3), keepdims=True)
    return np.asarray(((images - means) * _CONTRAST[strength - 1] + means).round(), np.uint8)


KINDS: Mapping[str, Callable[[Images, int], Images]] = {
    "noise": _noise,
    "blur": _blur,
    "rotation": _rotation,
    "contrast": _contrast,
}


def how() -> str:
    """How each is made, in words."""
    return say(
        "Noise: normal, standard deviation {noise} of pixels from 0 to 1. Blur: Gaussian, radius {blur} of the shorter "
        "side. Rotation: {rotation} degrees to either side. Contrast: {contrast} of each pixel's distance to its "
        "image's mean. The random ones are drawn with seed 0.",
        noise=", ".join(map(str, _NOISE)),
        blur=", ".join(f"{share:.0%}" for share in _BLUR),
        rotation=", ".join(f"{angle:g}" for angle in _ROTATION),
        contrast=", ".join(f"{share:.0%}" for share in _CONTRAST),
    )


def _map_images(images: Images, change: Callable[[Image.Image, int], Image.Image]) -> Images:
    """Applies `change(image, index)` to every image."""
    result = np.empty_like(images)
    for index, pixels in enumerate(images):
        changed = change(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), index)
        result[index] = np.asarray(changed).reshape(pixels.shape)
    return result
