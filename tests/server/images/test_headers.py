"""Image files before they are decoded: damage beside the pixels is passed over, damage to them is not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.server.images.test_images import GREY, NOISE, RGB, encode, smooth_noise

from covey_server.errors import InvalidImage
from covey_server.images.headers import exif, header
from covey_server.images.pixels import InputSpec, decode, read_header

CASES = Path(__file__).parents[3].parent / "shared" / "cases"
PHOTO = Image.fromarray(smooth_noise(160, 200))
PNG = encode(PHOTO, "PNG")
JPEG = encode(PHOTO, "JPEG", quality=90)
PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)
EOI = b"\xff\xd9"


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidImage) as caught:
        decode(data, RGB)
    return str(caught.value)


@pytest.mark.skipif(not CASES.is_dir(), reason="the files of real senders are not here")
@pytest.mark.parametrize("name", ["A1_gamma_wrong_crc.png", "A2_icc_wrong_crc.png", "B1_ztxt_2mb.png",
                                  "C1_png_exif_no_header.png", "D1_progressive.jpg",
                                  "D4_progressive_film_5mb.jpg"])  # fmt: skip
def test_real_files_that_browsers_show_are_decoded(name: str) -> None:
    plain = decode((CASES / "00_plain.png").read_bytes(), GREY).astype(int)
    assert np.abs(decode((CASES / name).read_bytes(), GREY) - plain).max() <= 10


@pytest.mark.skipif(not CASES.is_dir(), reason="the files of real senders are not here")
@pytest.mark.parametrize("name", ["E1_half.jpg", "E2_half_closed_by_sender.jpg"])
def test_real_files_that_are_cut_are_refused(name: str) -> None:
    with pytest.raises(InvalidImage, match="damaged or cut off"):
        decode((CASES / name).read_bytes(), GREY)


@pytest.mark.parametrize("kind", [b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"pHYs",
                                  b"tIME", b"tRNS", b"sBIT", b"acTL", b"fcTL", b"PLTE", b"prVt"])  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"\x01", b"II*\x00", b"x\x00\x00" + bytes(40)])
def test_a_png_chunk_beside_the_pixels_may_be_damaged(kind: bytes, content: bytes) -> None:
    for damaged in (chunk(kind, content, 1), chunk(kind, content)):
        for place in (33, len(PNG) - 12):
            data = PNG[:place] + damaged + PNG[place:]
            assert np.array_equal(decode(data, RGB), decode(PNG, RGB))


def test_large_text_and_profiles_in_a_png_are_passed_over() -> None:
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(20_000_000)))
    profile = chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(20_000_000)))
    for place in (33, len(PNG) - 12):
        data = PNG[:place] + text + profile + PNG[place:]
        assert np.array_equal(decode(data, RGB), decode(PNG, RGB))


def test_what_the_pixels_of_a_png_need_must_be_whole() -> None:
    palette = encode(PHOTO.convert("P"), "PNG")
    at = palette.index(b"PLTE") + 4 + int.from_bytes(palette[37:41], "big") if palette[37:41] == b"PLTE" else 0
    at = (
        palette.index(b"PLTE") + 4 + int.from_bytes(palette[palette.index(b"PLTE") - 4 : palette.index(b"PLTE")], "big")
    )
    assert "chunk IHDR, is wrong" in refusal(PNG[:29] + b"none" + PNG[33:])
    assert "chunk IDAT, is wrong" in refusal(PNG[:-16] + b"none" + PNG[-12:])
    assert "chunk PLTE, is wrong" in refusal(palette[:at] + b"none" + palette[at + 4 :])
    assert "it has no palette" in refusal(palette[:33] + palette[at + 4 :])
    assert "chunk ABCD must not be passed over" in refusal(PNG[:33] + chunk(b"ABCD", b"") + PNG[33:])
    assert "CgBI" in refusal(PNG[:8] + chunk(b"CgBI", bytes(4)) + PNG[8:])


def test_what_stands_behind_the_pixels_of_a_png_may_be_missing() -> None:
    for data in (PNG[:-12], PNG[:-4] + b"none", PNG[:-12] + b"\x00\x00\xff", PNG + b"film" * 100):
        assert np.array_equal(decode(data, RGB), decode(PNG, RGB))


DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@pytest.mark.parametrize(("colour", "depth"), [(colour, depth) for colour in DEPTHS for depth in DEPTHS[colour]])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (5, 2), (1, 7), (33, 17)])
def test_a_png_of_too_few_rows_is_refused_however_well_it_is_closed(
    colour: int, depth: int, interlace: int, size: tuple[int, int]
) -> None:
    """0x5a and black are what pixels may hold that were never decoded."""
    width, height = size
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    for fill in (b"\x00", b"\x5a"):
        rows = b""
        for left, top, across, down in PASSES if interlace else ((0, 0, 1, 1),):
            columns, lines = -(-(width - left) // across), -(-(height - top) // down)
            if columns > 0 and lines > 0:
                rows += (b"\x00" + fill * (-(-columns * bits // 8))) * lines
        for missing in (0, 1, len(rows) // 2):
            data = (
                PNG[:8]
                + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
                + (chunk(b"PLTE", bytes(3 << depth)) if colour == 3 else b"")
                + chunk(b"IDAT", zlib.compress(rows[: len(rows) - missing]))
                + chunk(b"IEND", b"")
            )
            if missing:
                with pytest.raises(InvalidImage, match=r"pixels end early|truncated"):
                    decode(data, GREY)
            else:
                assert decode(data, GREY).shape == GREY.shape


SEGMENTS = {
    "a profile of nothing": segment(0xE2, b"ICC_PROFILE\0"),
    "a profile in pieces that are missing": segment(0xE2, b"ICC_PROFILE\0\x05\x09abc"),
    "Adobe, cut": segment(0xEE, b"Adobe"),
    "JFIF, cut": segment(0xE0, b"JFIF\0"),
    "EXIF, cut": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01"),
    "EXIF that is no TIFF": segment(0xE1, b"Exif\0\0junk"),
    "a directory of images, broken": segment(0xE2, b"MPF\0junk"),
    "Photoshop's, cut": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\1"),
    "a preview": segment(0xE1, b"Exif\0\0" + JPEG[:60_000]),
    "bytes that belong to nothing": b"\xff\xfe\x00\x02junk",
}


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_jpeg_segment_beside_the_pixels_may_be_damaged(name: str) -> None:
    for whole in (JPEG, PROGRESSIVE):
        assert np.array_equal(decode(whole[:2] + SEGMENTS[name] + whole[2:], RGB), decode(whole, RGB))


JPEGS = {
    f"{mode}, {'progressive' if progressive else 'baseline'}, restarts {restarts}": encode(
        PHOTO.convert(mode), "JPEG", quality=90, progressive=progressive, restart_marker_rows=restarts
    )
    for mode in ("L", "RGB", "CMYK")
    for progressive in (False, True)
    for restarts in (0, 1, 3)
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("spec", [RGB, InputSpec(160, 200, 3)])
def test_a_jpeg_that_is_cut_is_refused_however_it_is_closed(name: str, spec: InputSpec) -> None:
    """libjpeg fills what is missing before an end marker with grey, and tells nobody."""
    whole = JPEGS[name]
    expected = decode(whole, spec)
    plain = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    if spec.height == 160:
        assert np.array_equal(expected, plain)
    for share in (0.5, 0.7, 0.8, 0.9, 0.95):
        cut = whole[: int(len(whole) * share)].rstrip(b"\xff")
        for end in (b"", EOI, EOI + bytes(100), EOI + b"film" + PNG):
            try:
                decoded = decode(cut + end, spec)
            except InvalidImage:
                pass
            else:  # in a scan of details, the bits that are left can look like "nothing more follows"
                assert "progressive" in name
                assert end
                assert np.abs(decoded.astype(int) - expected).mean() < 8  # half grey: 30 and more
    for behind in (bytes(512), b"\xff\xda" * 200, PNG, whole):  # padding, a film, other images
        assert np.array_equal(decode(whole + behind, spec), expected)


def test_a_baseline_jpeg_need_not_be_closed() -> None:
    assert np.array_equal(decode(JPEG[:-2], RGB), decode(JPEG, RGB))
    assert np.array_equal(decode(JPEG[:-1], RGB), decode(JPEG, RGB))


def test_of_several_images_in_one_file_the_first_counts() -> None:
    file = io.BytesIO()
    PHOTO.save(file, "MPO", save_all=True, append_images=[PHOTO.transpose(Image.Transpose.ROTATE_180)], quality=90)
    pair = file.getvalue()
    assert np.array_equal(decode(pair, RGB), decode(JPEG, RGB))
    end = pair.index(EOI)
    with pytest.raises(InvalidImage, match="damaged or cut off"):
        decode(pair[: end - 1000] + pair[end:], RGB)


def test_a_jpeg_without_one_of_its_colours_is_refused() -> None:
    start = PROGRESSIVE.index(b"\xff\xc0" if b"\xff\xc0" in PROGRESSIVE else b"\xff\xc2")
    first = PROGRESSIVE.index(b"\xff\xda", start)
    second = PROGRESSIVE.index(b"\xff", first + 20)
    while PROGRESSIVE[second + 1] == 0:
        second = PROGRESSIVE.index(b"\xff", second + 1)
    one_scan = bytearray(PROGRESSIVE[:second] + EOI)
    one_scan[first + 2 : first + 14] = b"\x00\x08\x01" + one_scan[first + 5 : first + 7] + b"\x00\x00\x01" + bytes(4)
    assert "2 of its 3 colour components are not in it" in refusal(bytes(one_scan))


@pytest.mark.parametrize(
    ("place", "byte", "kind"),
    [
        (4, 12, "a 12-bit JPEG"),
        (9, 2, "a JPEG of 2 colour components"),
        (1, 0xCB, "an arithmetic-coded lossless JPEG"),
        (1, 0xC5, "a hierarchical JPEG"),
    ],
)
def test_a_jpeg_of_another_kind_is_named(place: int, byte: int, kind: str) -> None:
    changed = bytearray(JPEG)
    changed[JPEG.index(b"\xff\xc0") + place] = byte
    assert f"are {kind}, which is not decoded here; save it again as a baseline JPEG" in refusal(bytes(changed))


def test_a_lossless_jpeg_is_decoded_at_its_full_size() -> None:
    """It cannot be decoded at a part of its size: Pillow called every large one broken."""
    grey = np.add.outer(np.arange(300), np.arange(200)).astype(np.uint8)
    bits = ""
    for y in range(300):
        for x in range(200):
            before = int(grey[y, x - 1]) if x else int(grey[y - 1, 0]) if y else 128
            difference = int(grey[y, x]) - before
            size = abs(difference).bit_length()
            coded = difference if difference > 0 else difference + (1 << size) - 1
            bits += format(size, "04b") + (format(coded, f"0{size}b") if size else "")
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    lossless = (
        b"\xff\xd8"
        + segment(0xC4, bytes(4) + b"\x09" + bytes(12) + bytes(range(9)))
        + segment(0xC3, struct.pack(">BHHB", 8, 300, 200, 1) + b"\x01\x11\x00")
        + segment(0xDA, b"\x01\x01\x00\x01\x00\x00")
        + data
        + EOI
    )
    assert np.array_equal(decode(lossless, InputSpec(300, 200, 1))[:, :, 0], grey)
    assert np.array_equal(decode(lossless, GREY), decode(encode(Image.fromarray(grey), "PNG"), GREY))


WEBPS = {
    f"{mode}, {'lossless' if lossless else 'lossy'}": encode(PHOTO.convert(mode), "WEBP", lossless=lossless)
    for mode in ("RGB", "RGBA")
    for lossless in (True, False)
}


@pytest.mark.parametrize("name", WEBPS)
def test_what_a_webp_says_of_itself_may_be_wrong(name: str) -> None:
    whole = WEBPS[name]
    expected = decode(whole, RGB)
    for size in (0, 12, len(whole) + 92, 2**32 - 1):
        assert np.array_equal(decode(whole[:4] + struct.pack("<I", size) + whole[8:], RGB), expected)
    for behind in (b"junk" * 9, b"EXIF\xff\xff\xff\x7fjunk"):
        assert np.array_equal(decode(whole + behind, RGB), expected)
    with pytest.raises(InvalidImage, match="damaged or cut off"):
        decode(whole[:-100], RGB)


def test_flags_profiles_and_exif_of_a_webp_may_be_wrong() -> None:
    tags = Image.Exif()
    tags[0x0112] = 3
    whole = encode(PHOTO, "WEBP", exif=tags, icc_profile=b"none")
    at = whole.index(b"VP8X") + 8
    for flags in (0x00, 0xFF, 0x10, 0x2C, 0x02):
        assert np.array_equal(decode(whole[:at] + bytes((flags,)) + whole[at + 1 :], RGB), decode(whole, RGB))
    upright = decode(encode(PHOTO, "WEBP"), RGB)
    assert not np.array_equal(decode(whole, RGB), upright)
    for without in (whole[:-20], whole.replace(b"II*\0", b"none").replace(b"MM\0*", b"none")):
        assert np.array_equal(decode(without, RGB), upright)


def test_of_animations_the_first_frame_is_enough() -> None:
    other = PHOTO.transpose(Image.Transpose.ROTATE_180)
    webp = encode(PHOTO, "WEBP", save_all=True, append_images=[other], lossless=True)
    assert np.array_equal(decode(webp[:-200], RGB), decode(encode(PHOTO, "PNG"), RGB))
    grey = PHOTO.convert("L")
    for kind in ("GIF", "PNG"):
        options = {"disposal": 2} if kind == "GIF" else {}
        whole = encode(grey, kind, save_all=True, append_images=[other.convert("L")], **options)
        for data in (whole, whole[:-200]):
            assert np.array_equal(decode(data, GREY), decode(encode(grey, kind), GREY))


def test_extensions_of_a_gif_may_be_damaged() -> None:
    whole = encode(Image.fromarray(NOISE), "GIF")
    place = 13 + 3 * 2 ** ((whole[10] & 7) + 1)
    for junk in (b"\x21\xf9\x00", b"\x21\xff\x0bNOTNETSCAPE\x03\x01\x02\x03\x00", b"\x00\x00", b"\x21\xf9\x01\x00\x00"):
        assert np.array_equal(decode(whole[:place] + junk + whole[place:], GREY), decode(whole, GREY))


def test_a_frame_of_a_gif_counts_as_part_of_its_size() -> None:
    """Pillow filled what lies under it before anything had looked at its size: 4.3 GB for 37 bytes."""
    frame = b"," + struct.pack("<HHHH", 0, 0, 65535, 65535) + b"\x00\x02\x02\x44\x01\x00;"
    bomb = b"GIF89a" + struct.pack("<HH", 10, 10) + bytes(3) + b"\x21\xf9\x04\x08\0\0\0\0" + frame
    with pytest.raises(Exception, match="65535 x 65535"):
        read_header(bomb)


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_found_or_there_is_none(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHIHH", 0x010F, 2, 4, 0, 0) + struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    block = mark + struct.pack(order + "IH", 8, 2) + entries
    assert exif.orientation(block) == exif.orientation(b"Exif\0\0" + block) == 6
    assert exif.orientation(block[:8] + struct.pack(order + "H", 65535) + block[10:]) == 6
    for length in range(len(block) - 2):
        assert exif.orientation(block[:length]) in (1, 6)
    assert exif.orientation(block[:-4] + struct.pack(order + "HH", 9, 0)) == 1
    assert exif.orientation(mark + struct.pack(order + "I", 2**32 - 1) + block[8:]) == 1


def test_a_segment_limit_is_one_for_all_formats() -> None:
    assert header.MAX_SEGMENTS == 25_000


NAMED = {
    b"BM\x3a\0\0\0\0\0\0\0": "a BMP image",
    b"II*\0\x08\0\0\0": "a TIFF image",
    b"\0\0\0\x1cftypheic\0\0\0\0": "a HEIC image",
    b"\0\0\0\x1cftypmif1\0\0\0\0": "a HEIC image",
    b"\0\0\0\x1cftypisom\0\0\0\0": "an MP4 or other ISO media file",
    b"\0\0\0\x0cjP  \r\n\x87\n": "a JPEG 2000 image",
    b"\xff\x0a\xfa\x7f": "a JPEG XL image",
    b"<?xml version='1.0'?><svg xmlns=": "an SVG drawing",
    b"\n<svg width='1'>": "an SVG drawing",
    b"<!DOCTYPE html><html>": "an HTML page",
    b'{"image": "..."}': "JSON text",
    b"%PDF-1.7": "a PDF document",
    b"/9j/4AAQSkZJRgABAQ": "base64 text of a JPEG image; send the bytes",
    b"iVBORw0KGgoAAAANSUhEUgAA": "base64 text of a PNG image; send the bytes",
    b"data:image/png;base64,iVBORw0": "a data: URL; send the bytes",
    b"https://example.org/cat.jpg": "an address; send the bytes",
    b"/home/me/cat.jpg": "text",
    b"PK\x03\x04\x14\0": "a ZIP archive",
    b"\x1f\x8b\x08\0": "gzip-compressed data",
    b"\x93NUMPY\x01\0": "a NumPy array",
    b"version https://git-lfs.github.com/spec/v1": "a Git LFS pointer",
    bytes(100): "nothing but zeros",
    b"\xef\xbb\xbf" + PNG: "a PNG behind 3 other bytes",
    PNG.replace(b"\r\n", b"\n"): "a PNG that was transferred as text",
    PNG.decode("latin-1").encode(): "a PNG that was transferred as text",
    b"\xff\xd8\x00" + JPEG[3:]: "a JPEG with a damaged beginning",
    b"\x01\x02\x03": r"of no known kind (they begin with b'\x01\x02\x03')",
}


@pytest.mark.parametrize("data", NAMED)
def test_a_file_is_named_as_what_it_is(data: bytes) -> None:
    assert f"not a JPEG, PNG, WebP, GIF or AVIF image: the {len(data):,} bytes are {NAMED[data]}" in refusal(data)
