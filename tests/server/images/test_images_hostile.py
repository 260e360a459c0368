"""Image files made to do harm: bombs, endless headers, floods of warnings, mutations."""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from tests.server.images.test_images import GREY, NOISE, RGB, encode

from covey_proto.interpolation import Interpolation
from covey_proto.resize import KNOWN, Resize
from covey_server.errors import ImageTooLarge, InvalidImage
from covey_server.images.headers import jpeg_scans
from covey_server.images.pixels import InputSpec, decode


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


def test_junk_behind_the_pixels_of_a_png_is_not_copied_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last pixel is as the decoder finds it, all is unfolded once more to count the rows: in pieces of 1 MB,
    with each of which zlib copies what is left of its input."""
    pixels = np.full((2000, 2000, 3), 0x5A, np.uint8)
    whole = encode(Image.fromarray(pixels), "PNG", compress_level=0)
    place = whole.index(b"IDAT") - 4
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels)) + bytes(8 << 20)
    chunk = b"IDAT" + rows
    junk = whole[:place] + struct.pack(">I", len(rows)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    junk += whole[whole.index(b"IEND") - 4 :]
    fed: list[int] = []

    class Counting:
        def __init__(self) -> None:
            self._real = decompressobj()

        def decompress(self, data: bytes | memoryview, max_length: int) -> bytes:
            fed.append(len(data))
            return self._real.decompress(data, max_length)

        @property
        def unconsumed_tail(self) -> bytes:
            return self._real.unconsumed_tail

        @property
        def eof(self) -> bool:
            return self._real.eof

    decompressobj = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    assert (decode(junk, RGB) == 0x5A).all()
    assert fed
    assert sum(fed) < 2 * len(junk)


@pytest.mark.parametrize("progressive", [True, False])
def test_refuses_a_jpeg_of_endless_scans(progressive: bool) -> None:
    """Each scan is a pass over all pixels and takes ten bytes of the file: 64 MB would be hours."""
    whole = encode(Image.new("RGB", (2000, 2000), "teal"), "JPEG", progressive=progressive)
    start, end = whole.index(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    if progressive:
        last = whole.rindex(b"\xff\xda")
        bomb = whole[:end] + whole[last:end] * 10_000 + whole[end:]
    else:
        one_component = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
        bomb = whole[:start] + one_component * 10_000 + whole[start:]
    started = time.thread_time()
    with pytest.raises(InvalidImage, match=r"10,0\d\d scans, at most 64 are decoded.*save it again as a baseline JPEG"):
        decode(bomb, RGB)
    assert time.thread_time() - started < 1
    assert decode(whole, RGB).shape == RGB.shape


@pytest.mark.parametrize("scans", [64, 65])
def test_a_jpeg_may_have_64_scans_and_no_more(scans: int) -> None:
    whole = encode(Image.new("RGB", (20, 20), "teal"), "JPEG", progressive=True)
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    many = whole[:end] + whole[last:end] * (scans - whole.count(b"\xff\xda")) + whole[end:]
    assert many.count(b"\xff\xda") == scans
    if scans > 64:
        with pytest.raises(InvalidImage, match="has 65 scans, at most 64 are decoded"):
            decode(many, RGB)
    else:
        assert decode(many, RGB).shape == RGB.shape


def test_a_baseline_jpeg_is_not_searched_for_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its one scan holds everything; what its header or its thumbnail contains is of no interest."""
    monkeypatch.setattr(jpeg_scans, "MAX_SCANS", 0)
    for mode, subsampling in itertools.product(("L", "RGB", "CMYK"), (0, 2)):
        image = Image.fromarray(NOISE).convert(mode)
        exif = Image.Exif()
        exif[0x010E] = encode(image, "JPEG").decode("latin-1")
        assert decode(encode(image, "JPEG", subsampling=subsampling, exif=exif, comment=b"\xff\xda"), GREY).any()
    with pytest.raises(InvalidImage, match=r"has 1\d scans, at most 0"):
        decode(encode(Image.fromarray(NOISE).convert("RGB"), "JPEG", progressive=True), GREY)


LARGEST = {  # 50 million pixels
    "a row": (50_000_000, 1),
    "a column": (1, 50_000_000),
    "a narrow one": (8, 6_250_000),
    "a long one": (200_000, 250),
    "a square": (7071, 7071),
}
# Decoding a column of single pixels takes 2 s whatever becomes of it: it is tried with one policy of each kind.
MAX_SIZE_CASES = [
    (name, resize, exact)
    for name, resize, exact in itertools.product(LARGEST, KNOWN, (True, False))
    if name != "a column" or (resize, exact) in ((Resize.SHORTER_SIDE, True), (Resize.PAD, False))
]


@functools.cache
def largest(name: str) -> bytes:
    return encode(Image.new("L", LARGEST[name], 77), "PNG", compress_level=1)


@pytest.mark.parametrize(("name", "resize", "exact"), MAX_SIZE_CASES)
def test_the_largest_images_take_bounded_time_whatever_the_policy(name: str, resize: Resize, exact: bool) -> None:
    """The memory is measured in test_decode_budget."""
    side = 256 if resize is Resize.SHORTER_SIDE else 0
    spec = InputSpec(224, 224, 1, resize, resize_to=side, interpolation=Interpolation.LANCZOS, exact=exact)
    data = largest(name)
    started = time.thread_time()
    assert (decode(data, spec) == 77).any()
    assert time.thread_time() - started < 6


CRC = zlib.crc32(b"prVt").to_bytes(4, "big")
GIF = encode(Image.fromarray(NOISE), "GIF")
ENDLESS = {  # of what, into which file, and where there
    "JPEG comments": (b"\xff\xfe\x00\x02", encode(Image.fromarray(NOISE), "JPEG"), 2),
    "JPEG EXIF": (b"\xff\xe1\x00\x16Exif\x00\x00II*\x00\x08" + bytes(9), encode(Image.fromarray(NOISE), "JPEG"), 2),
    "PNG chunks": (
        bytes(4) + b"prVt" + zlib.crc32(b"prVt").to_bytes(4, "big"),
        encode(Image.fromarray(NOISE), "PNG"),
        33,
    ),
    "GIF comments": (b"\x21\xfe\x01x\x00", GIF, 13 + 3 * 2 ** ((GIF[10] & 7) + 1)),
}


@pytest.mark.parametrize("segments", ENDLESS)
def test_gives_up_on_a_file_of_endless_segments(segments: str) -> None:
    """Pillow reads a header segment by segment, in Python, and puts pieces of EXIF together at quadratic cost."""
    segment, whole, place = ENDLESS[segments]
    few, many = (whole[:place] + segment * count + whole[place:] for count in (20, 200_000))
    assert np.array_equal(decode(few, GREY), decode(whole, GREY))
    started = time.thread_time()
    with pytest.raises(InvalidImage, match="made of more than 25,000 pieces"):
        decode(many, GREY)
    assert time.thread_time() - started < 3


def test_exif_can_fill_neither_the_log_nor_the_memory() -> None:
    """5,000 tags of 60 KB each, all of the same 60 KB: 5,000 warnings of different texts, and with Pillow before 13.0
    300 MB. In a process of its own: pytest replaces the filter that is tested."""
    tags = b"".join(struct.pack("<HHII", 40_000 + index, 1, 60_000, 8) for index in range(5000))
    exif = b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 5000) + tags + bytes(4)
    chunk = b"eXIf" + exif
    whole = encode(Image.fromarray(NOISE), "PNG")
    noisy = whole[:33] + struct.pack(">I", len(exif)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[33:]
    script = """
import resource, sys
from covey_server.images.pixels import InputSpec, decode
before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(decode(sys.stdin.buffer.read(), InputSpec(28, 28, 1)).shape)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb)
"""
    run = subprocess.run([sys.executable, "-c", script], input=noisy, capture_output=True, check=True, timeout=60)
    shape, growth_kb = run.stdout.decode().splitlines()
    assert shape == "(28, 28, 1)"
    assert int(growth_kb) < 50_000
    assert run.stderr == b""
