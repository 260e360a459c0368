"""Encoded images to pixels: every format, every odd mode, every kind of broken file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from covey_proto.interpolation import Interpolation
from covey_proto.resize import KNOWN, Resize
from covey_server.errors import InvalidImage
from covey_server.images import resampling
from covey_server.images.pixels import InputSpec, decode, decode_into, read_header

GREY = InputSpec(28, 28, 1)
RGB = InputSpec(32, 24, 3)
NOISE = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def smooth_noise(height: int, width: int) -> NDArray[np.uint8]:
    """Blurred noise, as photographs have more of the coarse than of the fine: `[height, width, 3]`."""
    noise = np.random.default_rng(height).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


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
    ("data", "message", "reason"),
    [
        (b"", "empty", "empty"),
        (b"this is a text file named .png", "not a JPEG, PNG, WebP, GIF or AVIF", "unknown_format"),
        (encode(Image.fromarray(NOISE), "BMP"), "not a JPEG, PNG, WebP, GIF or AVIF", "format_off"),
        (encode(Image.fromarray(NOISE), "JPEG")[:300], "damaged or cut off", "damaged"),
        (encode(Image.fromarray(NOISE), "PNG")[:-400], "damaged or cut off", "damaged"),
    ],
)
def test_says_what_is_wrong_with_a_file(data: bytes, message: str, reason: str) -> None:
    with pytest.raises(InvalidImage, match=message) as caught:
        decode(data, GREY)
    assert caught.value.reason == reason


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("resize", KNOWN)
def test_turned_before_or_after_resizing_is_the_same(orientation: int, resize: Resize) -> None:
    """It is turned last, which is cheaper; within the rounding of one level the order does not matter."""
    photograph = smooth_noise(90, 130)
    exif = Image.Exif()
    exif[0x0112] = orientation  # 9 does not exist
    stored = encode(Image.fromarray(photograph), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
    spec = InputSpec(24, 40, 3, resize, resize_to=43 if resize is Resize.SHORTER_SIDE else 0)
    turned_first = decode(encode(upright, "PNG"), spec)
    assert np.abs(decode(stored, spec).astype(int) - turned_first).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_grey_in_three_channels_is_the_same_grey_three_times(kind: str) -> None:
    """Grey is resized as one channel and only then repeated."""
    data = encode(Image.fromarray(smooth_noise(300, 200)[:, :, 0]), kind)
    colour = decode(data, InputSpec(28, 20, 3))
    assert (colour == colour[:, :, :1]).all()
    if kind in ("JPEG", "PNG"):  # stored without colour, so that the grey model sees the same
        assert np.array_equal(colour[:, :, :1], decode(data, InputSpec(28, 20, 1)))


def test_sixteen_bit_grey_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    sixteen = Image.fromarray(NOISE.astype(np.uint16) << 8)
    assert np.array_equal(decode(encode(sixteen, "PNG", exif=exif), GREY)[:, :, 0], NOISE[::-1, ::-1])


@pytest.mark.parametrize("is_fast", {False, resampling.IS_FAST})
def test_the_common_case_is_one_decode_and_one_resize(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A JPEG of 640 x 480 into 224 x 224: the very pixels of Pillow's decoder and of the bilinear resize."""
    monkeypatch.setattr(resampling, "IS_FAST", is_fast)
    data = encode(Image.fromarray(smooth_noise(480, 640)), "JPEG")
    expected = resampling.resize(Image.open(io.BytesIO(data)), (224, 224), Interpolation.BILINEAR, (0, 0, 640, 480))
    assert np.array_equal(decode(data, InputSpec(224, 224, 3)), np.asarray(expected))


def test_decodes_into_a_place_among_others() -> None:
    rows = bytearray(3 * RGB.nbytes)
    place = memoryview(rows)[RGB.nbytes : 2 * RGB.nbytes]
    data = encode(Image.fromarray(smooth_noise(50, 60)), "JPEG")
    decode_into(place, read_header(data), RGB)
    assert bytes(place) == decode(data, RGB).tobytes()
    assert not any(rows[: RGB.nbytes])
    assert not any(rows[2 * RGB.nbytes :])


def test_a_place_of_a_wrong_size_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="different structures"):
        decode_into(memoryview(bytearray(RGB.nbytes - 1)), read_header(encode(Image.fromarray(NOISE), "PNG")), RGB)


def test_a_broken_image_leaves_its_place_alone() -> None:
    place = bytearray(GREY.nbytes)
    broken = read_header(encode(Image.fromarray(NOISE), "JPEG")[:-100])
    with pytest.raises(InvalidImage, match="damaged or cut off"):
        decode_into(memoryview(place), broken, GREY)
    assert not any(place)
