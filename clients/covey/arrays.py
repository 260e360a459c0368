"""Which NumPy arrays are images, and what to do with those that are not. Never changes a pixel's value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covey.errors import InvalidInput

_CHANNELS = (1, 3)  # grey, RGB: all that models take


def one_image(array: NDArray[Any]) -> NDArray[np.uint8]:
    """`array`, one image `[H, W]` or `[H, W, C] uint8`, as `[H, W, C]`. Raises InvalidInput for any other."""
    if array.ndim == 4:
        raise InvalidInput(f"a batch of shape {_shape(array)} within a list; give it alone, or its images as items")
    if array.ndim not in (2, 3):
        raise InvalidInput(f"an array of shape {_shape(array)}; {_EXPECTED}")
    return checked(array[:, :, np.newaxis] if array.ndim == 2 else array)


def checked(array: NDArray[Any]) -> NDArray[np.uint8]:
    """`array` itself, `[H, W, C]` or `[N, H, W, C] uint8`. Raises InvalidInput for any other."""
    if array.size == 0:
        raise InvalidInput(f"no images: the array is empty, of shape {_shape(array)}")
    if array.dtype != np.uint8:
        raise InvalidInput(f"an array of {array.dtype}, but pixels are uint8, 0 to 255; {_conversion(array.dtype)}")
    if array.shape[-1] not in _CHANNELS:
        raise InvalidInput(f"an array of shape {_shape(array)}; {_EXPECTED}{_hint(array.shape)}")
    return array


def check_same_shape(images: Mapping[int, NDArray[np.uint8]]) -> None:
    """Raises InvalidInput where `images`, by place in the caller's list, are not all of one shape."""
    first_place, first = next(iter(images.items()))
    for place, image in images.items():
        if image.shape != first.shape:
            raise InvalidInput(
                f"images[{first_place}] is {_shape(first)}, images[{place}] is {_shape(image)}: a model takes "
                f"arrays of one size only; bring them to it, or send encoded images, which the server resizes"
            )


_EXPECTED = "one image is [H, W] or [H, W, C], a batch [N, H, W, C], with 1 (grey) or 3 (RGB) channels C"


def _shape(array: NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))


def _conversion(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return "for values of 0 to 1: (x * 255).round().astype(np.uint8); normalising is the model's own work"
    if dtype.kind == "b":
        return "convert with x.astype(np.uint8) * 255"
    return "for values of 0 to 255: x.astype(np.uint8)"


def _hint(shape: tuple[int, ...]) -> str:
    """A sentence on the usual mistakes, in the order of how sure it is."""
    if shape[-1] == 4:
        return ". To drop an alpha channel: x[..., :3]"
    if shape[-3] in _CHANNELS:
        return ". If the channels come first: np.moveaxis(x, -3, -1)"
    if len(shape) == 3:
        return ". If it is a batch of grey images: x[..., np.newaxis]"
    return ""
