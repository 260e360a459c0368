"""Encoded images to pixels: every format, every odd mode, every kind of broken file."""

from __future__ import annotations

import contextlib
import io
import random

import numpy as np
import pytest
from PIL import Image

from covey_server.errors import ImageTooLarge, InvalidImage
from covey_server.images import InputSpec, Resize, decode

GREY = InputSpec(28, 28, 1)
RGB = InputSpec(32, 24, 3)
NOISE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("GIF", {})])
def test_lossless_formats_give_the_very_pixels(kind: str, options: dict[str, object]) -> None:
    decoded = decode(encode(Image.fromarray(NOISE), kind, **options), GREY)
    assert decoded.dtype == np.uint8
    assert decoded.shape == (28, 28, 1)
    assert np.array_equal(decoded[:, :, 0], NOISE)


def test_jpeg_is_close() -> None:
    smooth = np.add.outer(np.arange(28), np.arange(28)).astype(np.uint8) * 4
    decoded = decode(encode(Image.fromarray(smooth), "JPEG", quality=95), GREY)[:, :, 0]
    assert np.abs(decoded.astype(int) - smooth).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("spec", [GREY, RGB])
def test_every_mode_of_png_becomes_what_the_model_takes(mode: str, spec: InputSpec) -> None:
    if mode == "I;16":
        image = Image.fromarray((NOISE.astype(np.uint16) << 8) | 0x5A)
    else:
        image = Image.fromarray(NOISE).convert(mode)
    assert decode(encode(image, "PNG"), spec).shape == spec.shape


def test_sixteen_bit_grey_keeps_its_upper_bits() -> None:
    sixteen = Image.fromarray((NOISE.astype(np.uint16) << 8) | 0x5A)
    assert np.array_equal(decode(encode(sixteen, "PNG"), GREY)[:, :, 0], NOISE)


def test_an_image_is_turned_upright() -> None:
    half = np.zeros((32, 24, 3), np.uint8)
    half[:16] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    stored = encode(Image.fromarray(half[::-1, ::-1].copy()), "PNG", exif=exif)
    assert np.array_equal(decode(stored, RGB), half)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_large_image_is_turned_upright_too(kind: str, mode: str) -> None:
    upright = np.zeros((640, 480), np.uint8)
    upright[:320] = 255  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its left side: to be turned a quarter clockwise
    stored = encode(Image.fromarray(np.rot90(upright).copy()).convert(mode), kind, exif=exif)
    decoded = decode(stored, RGB)
    assert decoded[:14].min() > 240
    assert decoded[-14:].max() < 15


def test_stretch_and_center_crop_differ_on_a_wide_image() -> None:
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, 30:60] = 200  # only the middle is lit
    data = encode(Image.fromarray(wide), "PNG")
    cropped = decode(data, InputSpec(30, 30, 3, Resize.CENTER_CROP))
    stretched = decode(data, InputSpec(30, 30, 3, Resize.STRETCH))
    assert (cropped == 200).all()
    assert (stretched[:, 0] == 0).all()
    assert (stretched[:, 15] == 200).all()


@pytest.mark.parametrize("crop", [0.875, 0.5])
def test_a_crop_keeps_that_share_of_the_middle(crop: float) -> None:
    """As torchvision does: resized to 256, then the centre of 224. Where the size fits, not a pixel is changed."""
    noise = np.random.default_rng(3).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    side = int(256 * crop)
    edge = (256 - side) // 2
    spec = InputSpec(side, side, 3, Resize.CENTER_CROP, crop)
    assert np.array_equal(
        decode(encode(Image.fromarray(noise), "PNG"), spec), noise[edge : edge + side, edge : edge + side]
    )


def test_a_crop_is_of_the_largest_part_of_the_right_shape() -> None:
    """80 x 40, to be square: the middle 40 x 40, and half of that is the 20 x 20 that are lit."""
    wide = np.zeros((40, 80), np.uint8)
    wide[10:30, 30:50] = 200
    data = encode(Image.fromarray(wide), "PNG")
    assert (decode(data, InputSpec(20, 20, 1, Resize.CENTER_CROP, 0.5)) == 200).all()
    assert (decode(data, InputSpec(20, 20, 1, Resize.CENTER_CROP))[[0, -1]] == 0).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_small_crop_of_a_large_image_is_as_sharp_as_the_whole_image_allows(kind: str) -> None:
    """A fifth of 1,120 pixels is 224: nothing may be reduced before it is cut out."""
    stripes = np.zeros((1120, 1120), np.uint8)
    stripes[:, ::2] = 255
    data = encode(Image.fromarray(stripes), kind)
    cut = decode(data, InputSpec(224, 224, 1, Resize.CENTER_CROP, 0.2))
    assert cut.std() > 100


def test_a_large_jpeg_decoded_at_reduced_size_looks_like_the_whole_one() -> None:
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(ramp, (600, 800)).copy())
    decoded = decode(encode(image, "JPEG", quality=95), GREY)[:, :, 0].astype(int)
    expected = np.asarray(image.resize((28, 28), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(decoded - expected).max() <= 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is a text file named .png", "not a JPEG, PNG, WebP or GIF"),
        (encode(Image.fromarray(NOISE), "BMP"), "not a JPEG, PNG, WebP or GIF"),
        (encode(Image.fromarray(NOISE), "JPEG")[:300], "damaged or cut off"),
        (encode(Image.fromarray(NOISE), "PNG")[:-400], "damaged or cut off"),
    ],
)
def test_says_what_is_wrong_with_a_file(data: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        decode(data, GREY)


def test_refuses_a_bomb_by_its_header() -> None:
    bomb = encode(Image.new("1", (20_000, 20_000)), "PNG")
    assert len(bomb) < 100_000
    with pytest.raises(ImageTooLarge, match=r"20000 x 20000 = 400,000,000 pixels, at most 50,000,000"):
        decode(bomb, GREY)
    with pytest.raises(ImageTooLarge, match="at most 783 "):
        decode(encode(Image.fromarray(NOISE), "PNG"), GREY, max_pixels=783)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_mutated_files_decode_or_are_refused(kind: str) -> None:
    chance = random.Random(kind)
    whole = encode(Image.fromarray(NOISE).convert("RGB"), kind)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(InvalidImage, ImageTooLarge):
            assert decode(bytes(data), RGB, max_pixels=1_000_000).shape == RGB.shape
