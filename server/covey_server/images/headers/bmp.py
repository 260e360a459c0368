"""Reads BMP: the image's size, and whether its pixels are complete."""

from __future__ import annotations

import struct

from covey_server.images.headers.header import Header, damaged, unsupported

_OLD, _MODERN = 12, 40  # sizes of a header: OS/2's, Windows' and those that begin like it
_PLAIN, _MASKED, _MASKED_ALPHA = 0, 3, 6
_RUNS = (1, 2)  # run-length encodings, which Pillow decodes in Python
_MAX_RUNS_BYTES = 256 * 1024


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    if len(data) < 54:
        raise damaged("BMP", len(data), "it ends within its header")
    start, size = struct.unpack_from("<II", data, 10)
    if size == _OLD:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = _PLAIN
    elif size >= _MODERN:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise damaged("BMP", len(data), f"its header is of {size} bytes")
    height = abs(height)
    if width <= 0 or not height or bits not in (1, 4, 8, 16, 24, 32):
        raise damaged("BMP", len(data), f"its header gives {width} x {height} pixels of {bits} bits")
    if compression in _RUNS and len(data) > _MAX_RUNS_BYTES:
        raise unsupported(data, "a BMP that is compressed by run lengths", "save it as a PNG")
    if compression in (_PLAIN, _MASKED, _MASKED_ALPHA):
        if len(data) < start + (width * bits + 31) // 32 * 4 * height:
            raise damaged("BMP", len(data), "it ends within its pixels")
    elif compression not in _RUNS:
        raise unsupported(data, "a BMP that holds another file", "send that one")
    return Header("BMP", width, height, data, 1 if bits <= 8 else 4)
