"""AVIF, BMP, TIFF and HEIC: decoded as they are meant, refused before they do harm, named where they are left out."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from covey_proto import image_formats as table
from covey_server.config import Config
from covey_server.errors import ImageTooLarge, InvalidConfiguration, InvalidImage
from covey_server.images import image_formats
from covey_server.images.pixels import DEFAULT_MAX_PIXELS, InputSpec, decode, needed_bytes, read_header

RGB = InputSpec(100, 140, 3, background=(255, 255, 255))
GREY = InputSpec(100, 140, 1, background=(255, 255, 255))
needs_avif = pytest.mark.skipif(table.AVIF.title not in image_formats.OPEN, reason="Pillow is built without AVIF")
needs_heic = pytest.mark.skipif(not image_formats.is_available(table.HEIC), reason="pillow-heif is not installed")

_COARSE = np.random.default_rng(15).integers(0, 256, (5, 7, 3), dtype=np.uint8)
PICTURE = Image.fromarray(_COARSE).resize((140, 100), Image.Resampling.BICUBIC)
FADING = PICTURE.copy()
FADING.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 140).astype(np.uint8), (100, 1))))
SIDE = 3000
LOSSY: dict[str, dict[str, object]] = {
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    "HEIF": {"quality": 95, "chroma": 444},
}


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **{**LOSSY.get(kind, {}), **options})
    return buffer.getvalue()


def decoded(data: bytes, spec: InputSpec = RGB) -> NDArray[np.int64]:
    return decode(data, spec, DEFAULT_MAX_PIXELS, image_formats.available()).astype(int)


def assert_shows(data: bytes, image: Image.Image, *, within: float = 0) -> None:
    """What a PNG of the image gives, to a grey and to an RGB model."""
    for spec in (RGB, GREY):
        expected = decoded(encode(image, "PNG"), spec)
        assert np.abs(decoded(data, spec) - expected).max() <= within


def turned(kind: str) -> bytes:
    """The picture, stored on its side, with an EXIF that says so."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(PICTURE.transpose(Image.Transpose.ROTATE_90), kind, exif=exif.tobytes())


class TestLossy:
    @pytest.mark.parametrize("image", [PICTURE, FADING, PICTURE.convert("L")], ids=["rgb", "alpha", "grey"])
    @pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=needs_avif), pytest.param("HEIF", marks=needs_heic)])
    def test_it_is_shown_as_it_is_meant(self, kind: str, image: Image.Image) -> None:
        assert_shows(encode(image, kind), image, within=10)

    @pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=needs_avif), pytest.param("HEIF", marks=needs_heic)])
    def test_it_is_turned_upright_once(self, kind: str) -> None:
        assert_shows(turned(kind), PICTURE, within=10)

    @needs_avif
    def test_of_a_moving_picture_the_first_frame_is_shown(self) -> None:
        frames = [PICTURE.rotate(180)]
        assert_shows(encode(PICTURE, "AVIF", save_all=True, append_images=frames), PICTURE, within=10)

    @pytest.mark.parametrize("kind", [pytest.param("AVIF", marks=needs_avif), pytest.param("HEIF", marks=needs_heic)])
    @pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
    def test_a_file_that_ends_early_is_refused(self, kind: str, share: float) -> None:
        data = encode(PICTURE, kind)
        with pytest.raises(InvalidImage, match="damaged or cut off"):
            decoded(data[: int(len(data) * share)])


@pytest.fixture(scope="module")
def large() -> bytes:
    """9 million pixels in a kilobyte of AVIF."""
    return encode(Image.new("RGB", (SIDE, SIDE)), "AVIF", speed=10, quality=50, subsampling="4:2:0")


@needs_avif
class TestAvifBombs:
    def test_the_size_of_the_pixels_is_read_from_the_header(self, large: bytes) -> None:
        with pytest.raises(ImageTooLarge, match=r"3000 x 3000 = 9,000,000 pixels, at most 8,999,999"):
            read_header(large, SIDE**2 - 1)

    def test_a_small_frame_around_large_data_is_refused(self, large: bytes) -> None:
        """The decoder makes what the AV1 data say, before anyone compares."""
        assert large.count(b"ispe") == 1
        place = large.index(b"ispe") + 8
        with pytest.raises(InvalidImage, match="it says 10 x 10, and a part of it is far larger"):
            read_header(large[:place] + struct.pack(">II", 10, 10) + large[place + 8 :])

    def test_what_decoding_takes_is_counted(self, large: bytes) -> None:
        """Measured: 9.0 bytes a pixel."""
        assert 9 * SIDE**2 < needed_bytes(read_header(large), RGB) < 14 * SIDE**2

    def test_many_frames_in_one_are_refused(self, large: bytes) -> None:
        start, end = _only_extent(large)
        frames = large[start:end] * 8
        location = large.index(b"iloc")
        old = struct.pack(">II", start, end - start)
        assert large.count(old, location) == 1
        box = struct.pack(">I", 8 + len(frames)) + b"mdat" + frames
        many = large.replace(old, struct.pack(">II", len(large) + 8, len(frames))) + box
        with pytest.raises(InvalidImage, match="a part of it holds 8 frames"):
            read_header(many)


def _only_extent(data: bytes) -> tuple[int, int]:
    from covey_server.images.headers import iso_media

    ((_, ((start, end),)),) = iso_media.read(data, b"avif").items
    return start, end


class TestBmp:
    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
    def test_it_is_shown_as_it_is_meant(self, mode: str) -> None:
        image = PICTURE.convert(mode)
        assert_shows(encode(image, "BMP"), image)

    def test_alpha_counts_where_the_file_says_that_it_is_some(self) -> None:
        pixels = np.asarray(FADING)[::-1, :, [2, 1, 0, 3]].tobytes()
        masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
        header = struct.pack("<IiiHHIIiiII", 108, 140, 100, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
        assert_shows(b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(header)) + header + pixels, FADING)

    def test_one_that_ends_early_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="it ends within its pixels"):
            decoded(encode(PICTURE, "BMP")[:-3])

    def test_its_size_is_looked_at_first(self) -> None:
        data = bytearray(encode(PICTURE, "BMP"))
        data[18:26] = struct.pack("<ii", 100_000, -100_000)
        with pytest.raises(InvalidImage, match="it ends within its pixels"):
            decoded(bytes(data))

    def test_long_run_lengths_are_refused(self) -> None:
        """Pillow decodes them in Python, with the interpreter's lock held."""
        data = bytearray(encode(PICTURE.convert("L"), "BMP") + bytes(300_000))
        data[30:34] = struct.pack("<I", 1)
        with pytest.raises(InvalidImage, match="compressed by run lengths"):
            decoded(bytes(data))


def _with_tags(data: bytes, tags: bytes, content: bytes) -> bytes:
    """A TIFF with more tags in its directory, and something more behind its own bytes."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    directory = struct.pack("<H", count + len(tags) // 12) + data[start + 2 : start + 2 + 12 * count] + tags + bytes(4)
    return data[:4] + struct.pack("<I", len(data) + len(content)) + data[8:] + content + directory


class TestTiff:
    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
    def test_it_is_shown_as_it_is_meant(self, mode: str, compression: str) -> None:
        image = (FADING if mode.endswith("A") else PICTURE).convert(mode)
        shown = image.convert("RGB") if mode == "CMYK" else image
        assert_shows(encode(image, "TIFF", compression=compression), shown)

    def test_sixteen_bits_keep_their_upper_eight(self) -> None:
        wide = Image.fromarray(np.asarray(PICTURE.convert("L")).astype(np.uint16) << 8)
        assert_shows(encode(wide, "TIFF"), PICTURE.convert("L"))

    @pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
    def test_it_is_turned_upright_once(self, compression: str) -> None:
        stored = PICTURE.transpose(Image.Transpose.ROTATE_90)
        assert_shows(encode(stored, "TIFF", compression=compression, tiffinfo={274: 6}), PICTURE)

    def test_of_several_pages_the_first_is_shown(self) -> None:
        assert_shows(encode(PICTURE, "TIFF", save_all=True, append_images=[PICTURE.rotate(180)]), PICTURE)

    @pytest.mark.parametrize(
        ("image", "options", "message"),
        [
            (PICTURE, {"compression": "zstd"}, "a TIFF of compression 50000, which is not decoded here"),
            (PICTURE.convert("F"), {}, "numbers without a known range"),
            (PICTURE.convert("I"), {}, "numbers without a known range"),
            (PICTURE, {"big_tiff": True}, "a BigTIFF, which is not decoded here"),
        ],
    )
    def test_kinds_that_are_not_decoded_are_named(
        self, image: Image.Image, options: dict[str, object], message: str
    ) -> None:
        with pytest.raises(InvalidImage, match=message):
            decoded(encode(image, "TIFF", **options))

    def test_one_that_ends_early_is_refused(self) -> None:
        with pytest.raises(InvalidImage, match="damaged or cut off"):
            decoded(encode(PICTURE, "TIFF")[:-3000])

    def test_huge_tiles_of_a_small_image_are_refused(self) -> None:
        tiles = b"".join(struct.pack("<HHII", tag, 4, 1, 30_000) for tag in (322, 323))
        with pytest.raises(InvalidImage, match="its tiles are of 900,000,000 pixels"):
            decoded(_with_tags(encode(PICTURE, "TIFF"), tiles, b""))

    def test_tags_beside_the_pixels_are_not_read(self) -> None:
        """A thousand tags that each stand for the same megabyte: Pillow would hold a thousand copies."""
        data = encode(PICTURE, "TIFF")
        tags = b"".join(struct.pack("<HHII", 40_000 + n, 7, 1 << 20, len(data)) for n in range(900))
        bomb = _with_tags(data, tags, bytes(1 << 20))
        assert len(read_header(bomb, formats=table.FORMATS).data) < len(bomb) + 1_000
        assert_shows(bomb, PICTURE)

    def test_a_strip_that_unfolds_to_less_is_refused(self) -> None:
        data = encode(PICTURE, "TIFF", compression="tiff_adobe_deflate")
        strip = zlib.compress(bytes(1000))
        with Image.open(io.BytesIO(data)) as image:
            offsets = image.tag_v2[273]  # type: ignore[attr-defined]
        short = bytearray(data)
        short[offsets[0] : offsets[0] + len(strip)] = strip
        with pytest.raises(InvalidImage, match="damaged or cut off"):
            decoded(bytes(short))


class TestSetting:
    @pytest.mark.parametrize(
        ("kind", "title", "names"),
        [
            ("BMP", "a BMP", "jpeg,png,webp,gif,avif,bmp"),
            ("TIFF", "a TIFF", "jpeg,png,webp,gif,avif,tiff"),
            pytest.param("HEIF", "a HEIC", "jpeg,png,webp,gif,avif,heic", marks=needs_heic),
        ],
    )
    def test_without_it_the_error_names_the_format_and_the_setting(self, kind: str, title: str, names: str) -> None:
        message = rf"the .* bytes are {title} image, which this server decodes if it is started with --image-formats "
        with pytest.raises(InvalidImage, match=message + names + "$"):
            decode(encode(PICTURE, kind), RGB)

    def test_a_format_can_be_left_out(self) -> None:
        with pytest.raises(
            InvalidImage, match=r"^not a JPEG or PNG image: .* a GIF image, .*--image-formats jpeg,png,gif"
        ):
            decode(encode(PICTURE, "GIF"), RGB, formats=(table.JPEG, table.PNG))

    def test_names_are_read_in_any_order_and_spelling(self) -> None:
        assert image_formats.chosen(" PNG,jpg ,tif") == (table.JPEG, table.PNG, table.TIFF)

    @pytest.mark.parametrize("text", ["jpeg,webm", "", ","])
    def test_other_names_are_refused(self, text: str) -> None:
        with pytest.raises(
            InvalidConfiguration, match="expected names of image formats, of jpeg, png, webp, gif, avif"
        ):
            Config(image_formats=text)

    def test_without_its_package_heic_is_refused_with_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(image_formats.OPEN, table.HEIC.title, raising=False)
        monkeypatch.setitem(sys.modules, "pillow_heif.as_plugin", None)
        with pytest.raises(
            InvalidConfiguration, match=r"HEIC needs another package: pip install 'covey-serve\[heic\]'"
        ):
            image_formats.chosen("jpeg,heic")
        with pytest.raises(InvalidImage, match=r"a HEIC image, which cannot be decoded here: .*covey-serve\[heic\]"):
            decode(b"\0\0\0\x1cftypheic\0\0\0\0", RGB)

    def test_a_pillow_without_avif_does_without_it_unless_it_is_asked_for(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(image_formats.OPEN, table.AVIF.title, raising=False)
        assert table.AVIF not in image_formats.chosen(Config.image_formats)
        with pytest.raises(InvalidConfiguration, match="Pillow is built without AVIF"):
            image_formats.chosen("avif")


@pytest.mark.parametrize("make", [
    pytest.param(lambda: encode(FADING.resize((40, 30)), "AVIF"), id="avif", marks=needs_avif),
    pytest.param(lambda: encode(FADING.resize((40, 30)), "HEIF"), id="heic", marks=needs_heic),
    pytest.param(lambda: encode(PICTURE.resize((40, 30)), "BMP"), id="bmp"),
    pytest.param(lambda: encode(PICTURE.resize((40, 30)), "TIFF", compression="tiff_lzw"), id="tiff"),
])  # fmt: skip
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(make: Callable[[], bytes]) -> None:
    whole = make()
    random = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        data = bytearray(whole)
        for place in random.integers(12, min(len(data), 600), random.integers(1, 4)):
            data[place] = random.choice([0, 1, 127, 128, 255, int(random.integers(256))])
        try:
            decode(bytes(data), InputSpec(8, 8, 3), 1_000_000, image_formats.available())
            outcomes.add("decoded")
        except (InvalidImage, ImageTooLarge):
            outcomes.add("refused")
    assert outcomes == {"decoded", "refused"}
