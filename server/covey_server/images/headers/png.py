"""Reads PNG: the chunks that the pixels need, and whether they are complete.

A wrong checksum is an error in chunks that the pixels need (IHDR, IDAT, a palette image's PLTE) and ignored in others,
as in libpng by default. Text, profiles and an animation's later frames are left out.
"""

from __future__ import annotations

import struct
from zlib import crc32

from covey_server.images.headers import exif
from covey_server.images.headers.header import MAX_SEGMENTS, Header, damaged, too_many_segments, unsupported

MAGIC = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_GREY, _COLOUR, _PALETTE, _GREY_ALPHA, _COLOUR_ALPHA = 0, 2, 3, 4, 6
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16),
    _COLOUR: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _COLOUR_ALPHA: (8, 16),
}
_TRANSPARENCY_BYTES = {_GREY: range(2, 3), _COLOUR: range(6, 7), _PALETTE: range(1, 257)}
_PLAIN = [b"IHDR", b"IDAT", b"IEND"]


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    colour, depth, width, height = _read_header(data)
    chunks: dict[bytes, bytes] = {}  # the needed ones beside the pixels, by type
    pixels: list[tuple[int, int]] = []  # where they stand
    types: list[bytes] = []
    position, size = 8, len(data)
    done = False  # whether all pixels were seen
    while position + 8 <= size:
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        start, end = position + 8, position + 8 + length
        types.append(kind)
        if len(types) > MAX_SEGMENTS:
            raise too_many_segments("PNG", data)
        if kind == b"IDAT" and not done:
            if end + 4 > size:
                raise damaged("PNG", len(data), "it ends within its pixels")
            if not _is_whole(data, start, end):
                raise damaged("PNG", len(data), "the checksum of its pixels, chunk IDAT, is wrong")
            pixels.append((start, end))
        elif kind == b"IEND":
            break
        else:
            done = bool(pixels)
            if end + 4 > size or not (kind.isalpha() and kind.isascii()):
                break  # after the pixels nothing is needed
            if kind == b"PLTE" and colour == _PALETTE and not done:
                if not _is_whole(data, start, end):
                    raise damaged("PNG", len(data), "the checksum of its palette, chunk PLTE, is wrong")
                chunks[kind] = data[start:end]
            elif kind in (b"tRNS", b"eXIf"):
                if _is_whole(data, start, end):
                    chunks.setdefault(kind, data[start:end])
            elif kind[:1].isupper() and kind != b"PLTE" and not done and len(types) > 1:
                raise damaged(
                    "PNG", len(data), f"its chunk {kind.decode()} must not be passed over, and no reader knows it"
                )
        position = end + 4
    if not pixels:
        raise damaged("PNG", len(data), "it ends before its pixels")
    if colour == _PALETTE and not (0 < len(chunks.get(b"PLTE", b"")) <= 768):
        raise damaged("PNG", len(data), "it has no palette")
    if types != _PLAIN:
        data = _rebuild(data, chunks, pixels, colour)
    return Header(
        "PNG", width, height, data, _bytes_per_pixel(colour, depth),
        orientation=exif.orientation(chunks[b"eXIf"]) if b"eXIf" in chunks else 1,
    )  # fmt: skip


def _read_header(data: bytes) -> tuple[int, int, int, int]:
    if data[12:16] == b"CgBI":
        raise unsupported(data, "a PNG as Xcode rewrites it for iPhones (CgBI)", "send the original file")
    if len(data) < 33:
        raise damaged("PNG", len(data), "it ends within its header")
    if data[8:16] != b"\x00\x00\x00\x0dIHDR" or not _is_whole(data, 16, 29):
        raise damaged("PNG", len(data), "the checksum of its header, chunk IHDR, is wrong")
    width, height, depth, colour, compression, filtering, interlace = _HEADER.unpack_from(data, 16)
    if not (width and height and depth in _DEPTHS.get(colour, ()) and compression == filtering == 0 and interlace < 2):
        raise damaged(
            "PNG",
            len(data),
            f"its header makes no sense: {width} x {height}, colour type {colour}, depth {depth}, "
            f"compression {compression}, filter {filtering}, interlace {interlace}",
        )
    return colour, depth, width, height


def _is_whole(data: bytes, start: int, end: int) -> bool:
    """Whether the checksum after a chunk's data is right."""
    return crc32(memoryview(data)[start - 4 : end]) == int.from_bytes(data[end : end + 4], "big")


def _rebuild(data: bytes, chunks: dict[bytes, bytes], pixels: list[tuple[int, int]], colour: int) -> bytes:
    """The file with only what its pixels need."""
    parts: list[bytes | memoryview] = [data[:33]]  # the magic and IHDR
    if b"PLTE" in chunks:
        parts += _chunk(b"PLTE", chunks[b"PLTE"])
    if len(chunks.get(b"tRNS", b"")) in _TRANSPARENCY_BYTES.get(colour, ()):
        parts += _chunk(b"tRNS", chunks[b"tRNS"])
    view = memoryview(data)
    parts.append(sum(end - start for start, end in pixels).to_bytes(4, "big") + b"IDAT")
    parts += [view[start:end] for start, end in pixels]
    parts.append(bytes(4))  # Pillow does not check this sum, and it was checked before
    parts += _chunk(b"IEND", b"")
    return b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> list[bytes | memoryview]:
    return [len(content).to_bytes(4, "big") + kind + content + crc32(kind + content).to_bytes(4, "big")]


def _bytes_per_pixel(colour: int, depth: int) -> int:
    if colour in (_GREY, _PALETTE):
        return 2 if depth == 16 else 1
    return 4
