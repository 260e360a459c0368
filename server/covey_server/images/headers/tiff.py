"""Reads TIFF: the first page, with only the tags that its pixels need.

Compressions whose decoders are seldom used, and so seldom tested, are refused.
"""

from __future__ import annotations

import struct

from covey_server.images.headers.header import Header, damaged, unsupported

_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_SIZES = {1: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4}  # of whole numbers, by type; bytes among them
_CODES = {1: "B", 3: "H", 4: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 274, 277
_ROWS, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 278, 322, 323, 339
_NEEDED = frozenset(
    {
        *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, 262, 266, 273, _SAMPLES, _ROWS, 279, 284, 292, 293, 317, 320),
        *(_TILE_WIDTH, _TILE_HEIGHT, 324, 325, 332, 338, _SAMPLE_FORMAT, 347, 530, 531, 532),
    }
)
_MAX_VALUES = 100_000  # of one tag: the positions of strips or tiles
_MAX_TAGS = 1_000
_COMPRESSIONS = {1: "none", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 7: "JPEG", 8: "Deflate"} | {
    32773: "PackBits",
    32946: "Deflate",
}
_MAX_EMPTY = 4  # a tile may be so many times as large as the image, or
_SMALL_TILE = 1024 * 1024  # have up to so many pixels


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    order = _ORDERS.get(bytes(data[:4]))
    if order is None:
        raise unsupported(data, "a BigTIFF", "save it as a classic TIFF or a PNG")
    try:
        return _read(data, order)
    except struct.error:
        raise damaged("TIFF", len(data), "it ends within its header") from None


def _read(data: bytes, order: str) -> Header:
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    if count > _MAX_TAGS:
        raise damaged("TIFF", len(data), f"it has {count:,} tags")
    values: dict[int, tuple[int, ...]] = {}
    needed_entries: list[bytes] = []
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, place)
        if tag == _ORIENTATION or tag in _NEEDED:
            size = _SIZES.get(kind, 0) * number
            (offset,) = struct.unpack_from(order + "I", data, place + 8) if size > 4 else (place + 8,)
            if not size or number > _MAX_VALUES or offset + size > len(data):
                raise damaged("TIFF", len(data), f"its tag {tag} makes no sense")
            if kind in _CODES and number <= 16:
                values[tag] = struct.unpack_from(f"{order}{number}{_CODES[kind]}", data, offset)
        if tag in _NEEDED:
            needed_entries.append(data[place : place + 12])
    width, height = values.get(_WIDTH, (0,))[0], values.get(_HEIGHT, (0,))[0]
    compression, samples = values.get(_COMPRESSION, (1,))[0], values.get(_SAMPLES, (1,))[0]
    bits = max(values.get(_BITS, (1,)))
    if not (width and height) or samples > 8 or bits not in (1, 2, 4, 8, 16, 32):
        raise damaged(
            "TIFF", len(data), f"its header gives {width} x {height} pixels of {samples} samples of {bits} bits"
        )
    if compression not in _COMPRESSIONS:
        raise unsupported(data, f"a TIFF of compression {compression}", "save it as a PNG")
    if bits == 32 or any(sample_format != 1 for sample_format in values.get(_SAMPLE_FORMAT, (1,))):
        raise unsupported(data, "a TIFF of numbers without a known range", "scale them to 0 to 255 and send a PNG")
    area = values.get(_TILE_WIDTH, (width,))[0] * values.get(_TILE_HEIGHT, (0,))[0] or width * height
    if area > max(_MAX_EMPTY * width * height, _SMALL_TILE):
        raise damaged("TIFF", len(data), f"its tiles are of {area:,} pixels")
    orientation = values.get(_ORIENTATION, (1,))[0]
    ifd = b"".join((struct.pack(order + "H", len(needed_entries)), *needed_entries, bytes(4)))
    rebuilt = b"".join((data[:4], struct.pack(order + "I", len(data)), memoryview(data)[8:], ifd))
    pixel_bytes = 4 if samples > 1 else 2 if bits == 16 else 1
    # libtiff decompresses a strip or tile at a time, which may be the whole image.
    decoder_bytes = max(pixel_bytes, samples * bits / 8) * area / (width * height)
    return Header(
        "TIFF", width, height, rebuilt, pixel_bytes, decoder_bytes,
        orientation=orientation if 1 <= orientation <= 8 else 1,
    )  # fmt: skip
