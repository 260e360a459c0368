"""Reads GIF: the first frame, without what comes before it: comments, loops, XMP.

When Pillow opens a file it fills what lies under a frame, before anything has checked the size: 40 bytes made it take
4 GB. The first frame does not need that.
"""

from __future__ import annotations

from covey_server.images.headers.header import MAX_SEGMENTS, Header, damaged, too_many_segments

MAGICS = (b"GIF87a", b"GIF89a")
_EXTENSION, _IMAGE, _END = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9
_TABLE = 0x80  # a flag: a table of colours follows
_TRANSPARENT = 0x01


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    try:
        return _read(data)
    except IndexError:
        raise damaged("GIF", len(data), "it ends before its first frame") from None


def _read(data: bytes) -> Header:
    position = start = 13 + _table_bytes(data[10])
    transparent: int | None = None
    segments = 0
    while (kind := data[position]) != _IMAGE:
        segments += 1
        if segments > MAX_SEGMENTS:
            raise too_many_segments("GIF", data)
        if kind == _END:
            raise damaged("GIF", len(data), "there is no frame in it")
        if kind != _EXTENSION:
            position += 1  # stray bytes are skipped, as in Pillow
            continue
        if data[position + 1] == _CONTROL and data[position + 2] >= 4:
            transparent = data[position + 6] if data[position + 3] & _TRANSPARENT else None
        position += 2
        while length := data[position]:
            segments += 1
            if segments > MAX_SEGMENTS:
                raise too_many_segments("GIF", data)
            position += 1 + length
        position += 1
    left, top, width, height = (int.from_bytes(data[position + i : position + i + 2], "little") for i in (1, 3, 5, 7))
    data[position + 10]  # the frame's descriptor and a byte of its data are there
    # A frame may exceed the screen, which then grows, as in Pillow.
    width = max(left + width, int.from_bytes(data[6:8], "little"))
    height = max(top + height, int.from_bytes(data[8:10], "little"))
    if not (width and height):
        raise damaged("GIF", len(data), f"its header gives a size of {width} x {height}")
    if position > start:
        control = b"" if transparent is None else bytes((_EXTENSION, _CONTROL, 4, _TRANSPARENT, 0, 0, transparent, 0))
        data = b"".join((data[:start], control, memoryview(data)[position:]))
    return Header("GIF", width, height, data, 1)


def _table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & _TABLE else 0
