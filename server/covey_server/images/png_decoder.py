"""Decodes a PNG that `headers.png` has prepared, and detects compressed data that hold less than the image.

Pillow takes such data for complete, and what is missing for black.
"""

from __future__ import annotations

import zlib

from PIL import Image
from PIL.PngImagePlugin import PngImageFile

# The pixels' value before the decoder writes them. If the last one still has it, all rows are counted, which costs a
# third of decoding. Images seldom end with this value.
_UNTOUCHED = 0x5A
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE_BYTES = 1 << 20
_INPUT_BYTES = 1 << 16


def load(image: PngImageFile, data: bytes) -> None:
    """Loads the pixels of an image that was opened from `data` and not loaded yet.

    Raises OSError if the data are damaged or end early.
    """
    width, height = image.size
    is_interlaced = bool(data[28])
    bands = len(image.getbands())
    ink = _UNTOUCHED if bands == 1 else (_UNTOUCHED,) * bands
    image.im = Image.new(image.mode, image.size, ink).im
    untouched = image.im.getpixel((0, 0))
    image.load()
    # The last row of an interlaced image that is decoded is the last odd one.
    last_row = height - 1 if not is_interlaced or height % 2 == 0 else height - 2
    if (last_row < 0 or image.im.getpixel((width - 1, last_row)) == untouched) and _ends_early(data, is_interlaced):
        raise OSError("its pixels end early")


def _ends_early(data: bytes, is_interlaced: bool) -> bool:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * _CHANNELS[data[25]]
    passes = _PASSES if is_interlaced else ((0, 0, 1, 1),)
    missing = sum(
        rows * (1 + (columns * bits + 7) // 8)
        for left, top, across, down in passes
        if (rows := -(-(height - top) // down)) > 0 and (columns := -(-(width - left) // across)) > 0
    )
    position = 33
    while data[position + 4 : position + 8] != b"IDAT":
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    end = position + 8 + int.from_bytes(data[position : position + 4], "big")
    unfolding = zlib.decompressobj()
    # The input comes in pieces, too: zlib copies the rest of its input with each piece of output.
    for start in range(position + 8, end, _INPUT_BYTES):
        compressed: bytes | memoryview = memoryview(data)[start : min(start + _INPUT_BYTES, end)]
        while compressed and missing > 0 and not unfolding.eof:
            missing -= len(unfolding.decompress(compressed, _PIECE_BYTES))
            compressed = unfolding.unconsumed_tail
        if missing <= 0 or unfolding.eof:
            break
    while missing > 0 and (piece := unfolding.decompress(b"", _PIECE_BYTES)):
        missing -= len(piece)
    return missing > 0
