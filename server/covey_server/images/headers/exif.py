"""Reads an image's orientation from its EXIF. If that cannot be read the image is upright, as in browsers."""

from __future__ import annotations

import struct

_PREFIX = b"Exif\x00\x00"  # of JPEG segments; some writers put it into PNG and WebP too
_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_ENTRY_BYTES = 12


def orientation(exif: bytes) -> int:
    """1 to 8; 1, which is upright, if the block is damaged or does not say."""
    tiff = exif.removeprefix(_PREFIX)
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, start)
        tag = struct.pack(order + "H", _ORIENTATION)
        for entry in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
            if tiff[entry : entry + 2] == tag:
                kind, values = struct.unpack_from(order + "HI", tiff, entry + 2)
                if values != 1 or kind not in (_SHORT, _LONG):
                    return 1
                (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:  # cut off
        pass
    return 1
