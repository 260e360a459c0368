"""Resampling by `cykooz-resizer`: within a level of Pillow's pixels, and Pillow itself where it is missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from covey_proto.interpolation import Interpolation
from covey_server.images import resampling
from covey_server.images.resampling import PILLOW, Box, Size, resize

needs_fast = pytest.mark.skipif(not resampling.IS_FAST, reason="cykooz-resizer has no wheel for this machine")
BILINEAR = Interpolation.BILINEAR
SIDES = st.one_of(st.integers(1, 8), st.integers(1, 300))
PART = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).filter(lambda part: part[1] - part[0] > 0.01)


def noise(width: int, height: int, mode: str) -> Image.Image:
    """Black and white: the hardest image for a filter, as neighbours have nothing in common."""
    shape = (height, width) if mode == "L" else (height, width, 3)
    return Image.fromarray(np.random.default_rng(width * 1000 + height).choice([0, 255], shape).astype(np.uint8))


def off(image: Image.Image, size: Size, interpolation: Interpolation, box: Box) -> NDArray[np.int64]:
    """By how many levels each pixel differs from Pillow's."""
    found = np.asarray(resize(image, size, interpolation, box)).astype(np.int64)
    expected = np.asarray(image.resize(size, PILLOW[interpolation], box)).astype(np.int64)
    levels: NDArray[np.int64] = np.abs(found - expected)
    return levels


@given(SIDES, SIDES, SIDES, SIDES, PART, PART, st.sampled_from(["L", "RGB"]))
@settings(max_examples=300, deadline=None)
def test_any_size_and_box_is_near_to_pillows(
    width: int, height: int, to_width: int, to_height: int, across: list[float], down: list[float], mode: str
) -> None:
    box = (across[0] * width, down[0] * height, across[1] * width, down[1] * height)
    # Two where both passes round the other way: 13 of 240,000 such images.
    assert off(noise(width, height, mode), (to_width, to_height), BILINEAR, box).max() <= 2


@needs_fast
@pytest.mark.parametrize("size", [(224, 224), (28, 28), (500, 500)])
def test_it_is_another_computation_and_near_to_pillows(size: Size) -> None:
    levels = off(noise(640, 480, "RGB"), size, BILINEAR, (0, 0, 640, 480))
    assert levels.max() == 1
    assert 0 < levels.mean() < 0.3


@pytest.mark.parametrize("interpolation", [each for each in PILLOW if each is not BILINEAR])
def test_the_other_filters_are_pillows(interpolation: Interpolation) -> None:
    assert off(noise(64, 48, "RGB"), (30, 60), interpolation, (1.5, 0, 60, 48)).max() == 0


@pytest.mark.parametrize("mode", ["CMYK", "RGBA", "I"])
def test_other_modes_are_pillows(mode: str) -> None:
    image = noise(64, 48, "L").convert(mode) if mode == "I" else noise(64, 48, "RGB").convert(mode)
    assert off(image, (20, 10), BILINEAR, (0, 0, 64, 48)).max() == 0


def test_without_the_library_the_pixels_are_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "IS_FAST", False)
    assert off(noise(640, 480, "RGB"), (224, 200), BILINEAR, (10.5, 0, 600.25, 480)).max() == 0


@pytest.mark.parametrize("box", [(-1.0, 0, 10, 10), (0, 0, 11.0, 10), (5.0, 0, 4.0, 10)])
def test_a_box_outside_the_image_is_an_error_and_no_panic(box: Box) -> None:
    with pytest.raises(ValueError, match=r"."):
        resize(noise(10, 10, "RGB"), (5, 5), BILINEAR, box)


def test_many_threads_resize_at_once() -> None:
    images = [noise(200 + step, 150, "RGB") for step in range(40)]

    def resized(image: Image.Image) -> bytes:
        return resize(image, (64, 64), BILINEAR, (0, 0, *image.size)).tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(resized, images)) == [resized(image) for image in images]
