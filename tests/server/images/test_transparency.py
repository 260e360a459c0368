"""Transparent images over a model's background: each way in which a file can be transparent."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from covey_server.images.pixels import InputSpec, decode

WHITE = (255, 255, 255)
ORANGE = (255, 128, 0)
SIDE = 16
GREY = InputSpec(SIDE, SIDE, 1, background=WHITE)
RGB = InputSpec(SIDE, SIDE, 3, background=WHITE)
ON_ORANGE = InputSpec(SIDE, SIDE, 3, background=ORANGE)
CASES = Path(__file__).parents[4] / "shared" / "cases"

_RANDOM = np.random.default_rng(14)
COLOURS = _RANDOM.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
LEVELS = _RANDOM.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
ALPHA = np.add.outer(np.arange(SIDE) * 16, np.arange(SIDE)).astype(np.uint8)  # all of 0 to 255


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(levels: NDArray[np.generic], *, depth: int, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG by its specification, as Pillow writes neither all depths nor all kinds: `levels` are the samples."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = levels.reshape(levels.shape[0], -1)
    if depth < 8:
        bits = np.unpackbits(rows.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
        packed = np.packbits(bits.reshape(len(rows), -1), axis=1)
        lines = [row.tobytes() for row in packed]
    else:
        lines = [row.astype(f">u{depth // 8}").tobytes() for row in rows]
    header = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], depth, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", transparent) if transparent else b"",
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))),
            chunk(b"IEND", b""),
        ]
    )


def over(colours: NDArray[np.uint8], alpha: NDArray[np.uint8], background: tuple[int, int, int]) -> NDArray[np.float64]:
    """`[H, W, 3]` colours over a background."""
    share = alpha[:, :, None] / 255
    return np.asarray(colours * share + np.array(background) * (1 - share))


def assert_shows(data: bytes, spec: InputSpec, expected: NDArray[np.float64]) -> None:
    """`expected`: `[H, W, 3]`; what a grey model takes is its luminance. Each conversion rounds once."""
    if spec.channels == 1:
        expected = (expected @ [0.299, 0.587, 0.114])[:, :, None]
    assert np.abs(decode(data, spec) - expected).max() <= 1.5


def grey_as_rgb(levels: NDArray[np.generic]) -> NDArray[np.uint8]:
    return np.repeat(levels.astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(params=[GREY, RGB, ON_ORANGE], ids=["grey", "rgb", "rgb on orange"])
def spec(request: pytest.FixtureRequest) -> InputSpec:
    found: InputSpec = request.param
    return found


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_an_alpha_channel_of_colours(kind: str, options: dict[str, object], spec: InputSpec) -> None:
    data = encode(Image.fromarray(np.dstack([COLOURS, ALPHA])), kind, **options)
    assert_shows(data, spec, over(COLOURS, ALPHA, spec.background or WHITE))


def test_an_alpha_channel_of_grey(spec: InputSpec) -> None:
    data = encode(Image.merge("LA", [Image.fromarray(LEVELS), Image.fromarray(ALPHA)]))
    assert_shows(data, spec, over(grey_as_rgb(LEVELS), ALPHA, spec.background or WHITE))


def test_sixteen_bits_with_alpha(spec: InputSpec) -> None:
    wide = np.dstack([COLOURS, ALPHA]).astype(np.uint16) * 257
    assert_shows(png(wide, depth=16, colour=6), spec, over(COLOURS, ALPHA, spec.background or WHITE))
    wide = np.dstack([LEVELS, ALPHA]).astype(np.uint16) * 257
    assert_shows(png(wide, depth=16, colour=4), spec, over(grey_as_rgb(LEVELS), ALPHA, spec.background or WHITE))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_one_place_of_a_palette(kind: str, spec: InputSpec) -> None:
    image = Image.fromarray((LEVELS % 8).astype(np.uint8))
    image.putpalette(bytes(_RANDOM.integers(0, 256, 24, dtype=np.uint8)))
    shown = np.asarray(image.convert("RGB"))
    alpha = np.where(np.asarray(image) == 5, 0, 255).astype(np.uint8)
    assert_shows(encode(image, kind, transparency=5), spec, over(shown, alpha, spec.background or WHITE))


def test_a_palette_of_alphas(spec: InputSpec) -> None:
    image = Image.fromarray((LEVELS % 8).astype(np.uint8))
    image.putpalette(bytes(_RANDOM.integers(0, 256, 24, dtype=np.uint8)))
    shown = np.asarray(image.convert("RGB"))
    alphas = np.array([0, 40, 80, 120, 160, 200, 255, 255], np.uint8)
    data = encode(image, transparency=alphas[:6].tobytes())
    assert_shows(data, spec, over(shown, alphas[np.asarray(image)], spec.background or WHITE))


def test_one_colour(spec: InputSpec) -> None:
    colours = COLOURS.copy()
    colours[::2] = (7, 8, 9)
    alpha = np.where((colours == (7, 8, 9)).all(axis=2), 0, 255).astype(np.uint8)
    data = encode(Image.fromarray(colours), transparency=(7, 8, 9))
    assert_shows(data, spec, over(colours, alpha, spec.background or WHITE))


def test_one_colour_of_sixteen_bits(spec: InputSpec) -> None:
    colours = COLOURS.copy()
    colours[::2] = (7, 8, 9)
    alpha = np.where((colours == (7, 8, 9)).all(axis=2), 0, 255).astype(np.uint8)
    wide = colours.astype(np.uint16) * 257
    data = png(wide, depth=16, colour=2, transparent=struct.pack(">3H", 7 * 257, 8 * 257, 9 * 257))
    assert_shows(data, spec, over(colours, alpha, spec.background or WHITE))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_one_level_of_grey_in_the_files_own_bits(depth: int, spec: InputSpec) -> None:
    levels = LEVELS >> (8 - depth)
    transparent = int(levels[0, 0])
    shown = grey_as_rgb(levels.astype(np.uint16) * 255 // (2**depth - 1))
    alpha = np.where(levels == transparent, 0, 255).astype(np.uint8)
    data = png(levels, depth=depth, colour=0, transparent=struct.pack(">H", transparent))
    assert_shows(data, spec, over(shown, alpha, spec.background or WHITE))


def test_one_level_of_sixteen_bits_is_compared_in_all_of_them(spec: InputSpec) -> None:
    wide = LEVELS.astype(np.uint16) << 8
    wide[3] = (wide[2, 0] & 0xFF00) | 0x5A  # differs from the transparent level in its lower bits alone
    alpha = np.where(wide == wide[2, 0], 0, 255).astype(np.uint8)
    data = png(wide, depth=16, colour=0, transparent=struct.pack(">H", int(wide[2, 0])))
    assert_shows(data, spec, over(grey_as_rgb(wide >> 8), alpha, spec.background or WHITE))


@pytest.mark.parametrize("side", [20, 100, 1200])
def test_what_lies_hidden_does_not_bleed_when_an_image_is_made_smaller(side: int, spec: InputSpec) -> None:
    """Red under the transparent half: a mean taken before the blending would show it along the edge."""
    colours = np.zeros((side, side, 3), np.uint8)
    colours[:, : side // 2] = (255, 0, 0)
    alpha = np.full((side, side), 255, np.uint8)
    alpha[:, : side // 2] = 0
    blended = over(colours, alpha, spec.background or WHITE).astype(np.uint8)
    without = decode(encode(Image.fromarray(blended)), spec)
    transparent = decode(encode(Image.fromarray(np.dstack([colours, alpha]))), spec)
    assert np.abs(transparent.astype(int) - without).max() <= 1


@pytest.mark.parametrize("size", [(2_000, 1_250), (20, 40_000)])
def test_a_large_image_is_blended_to_its_last_strip(size: tuple[int, int]) -> None:
    """It is converted in strips of a quarter of a million pixels."""
    assert (decode(encode(Image.new("RGBA", size, (0, 0, 0, 0))), RGB) == 255).all()


def test_without_a_background_alpha_is_dropped_as_it_always_was() -> None:
    data = encode(Image.fromarray(np.dstack([COLOURS, ALPHA])))
    assert np.array_equal(decode(data, InputSpec(SIDE, SIDE, 3)), COLOURS)


def test_an_opaque_image_is_as_it_was(spec: InputSpec) -> None:
    opaque = encode(Image.fromarray(np.dstack([COLOURS, np.full_like(ALPHA, 255)])))
    assert np.array_equal(decode(opaque, spec), decode(encode(Image.fromarray(COLOURS)), spec))


@pytest.mark.skipif(not CASES.is_dir(), reason="the project's shared cases are not here")
def test_a_browsers_canvas_is_black_on_white() -> None:
    data = (CASES / "F1_canvas_black_on_transparent.png").read_bytes()
    found = decode(data, InputSpec(28, 28, 1, background=WHITE))
    assert found.max() == 255
    assert found.min() < 40
    assert (decode(data, InputSpec(28, 28, 1)) == 0).all()


def gif(frame: Image.Image, screen: tuple[int, int], place: tuple[int, int]) -> bytes:
    """A GIF whose only frame, in mode P or L, covers a part of its screen."""
    data = bytearray(encode(frame, "GIF"))
    data[6:10] = struct.pack("<HH", *screen)
    descriptor = data.index(b"\x2c" + bytes(4) + struct.pack("<HH", *frame.size))
    data[descriptor + 1 : descriptor + 5] = struct.pack("<HH", *place)
    return bytes(data)


@pytest.mark.parametrize("colours", [2, 256])
@pytest.mark.parametrize("mode", ["P", "L"])
def test_around_a_gif_frame_smaller_than_its_screen_the_background_shows(
    spec: InputSpec, mode: str, colours: int
) -> None:
    side = SIDE // 2
    if mode == "P":
        frame = Image.fromarray(COLOURS[:side, :side]).quantize(colours)
    else:
        levels = np.array([0, 255], np.uint8)[LEVELS[:side, :side] % 2] if colours == 2 else LEVELS[:side, :side]
        frame = Image.fromarray(levels)
    expected = np.empty((SIDE, SIDE, 3))
    expected[:] = spec.background
    expected[3 : 3 + side, 5 : 5 + side] = np.asarray(frame.convert("RGB"))
    assert_shows(gif(frame, (SIDE, SIDE), (5, 3)), spec, expected)


def test_a_gif_frame_of_256_colours_is_surrounded_by_the_nearest_of_them() -> None:
    frame = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    frame.putpalette(bytes(level for level in range(256) for _ in range(3)))
    decoded = decode(gif(frame, (20, 20), (2, 2)), InputSpec(20, 20, 3, background=(250, 251, 252)))
    assert (decoded[:2] == 251).all()
    assert (decoded[2:18, 2:18] == np.arange(256).reshape(16, 16, 1)).all()


def test_without_a_background_what_surrounds_a_gif_frame_is_as_pillow_fills_it() -> None:
    frame = Image.fromarray(COLOURS[:8, :8]).quantize(16)
    data = gif(frame, (SIDE, SIDE), (4, 4))
    assert (decode(data, InputSpec(SIDE, SIDE, 3)) == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all()
