"""Reads WebP: the image, or an animation's first frame, without profiles and text."""

from __future__ import annotations

from covey_server.images.headers import exif
from covey_server.images.headers.header import MAX_SEGMENTS, Header, damaged, too_many_segments

MAGIC, KIND = b"RIFF", b"WEBP"
_ALPHA = 0x10  # a flag
_ANIMATION = 0x02
# libwebp keeps two canvases and decodes into a frame's own pixels; Pillow copies the result.
_DECODER_BYTES = 12.5
_ALPHA_BYTES = 2.0  # in addition, if alpha is stored apart


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    chunks, is_cut = _chunks(data)
    exif_block = chunks.get(b"EXIF", b"")
    extended = chunks.get(b"VP8X", b"")
    frame = chunks.get(b"ANMF")
    if len(extended) >= 10 and extended[0] & _ANIMATION and frame is not None:
        width, height = (int.from_bytes(extended[i : i + 3], "little") + 1 for i in (4, 7))
        flags = bytes((extended[0] & (_ALPHA | _ANIMATION),))
        parts = [_chunk(b"VP8X", flags + bytes(3) + extended[4:10])]
        parts += [_chunk(b"ANIM", chunks.get(b"ANIM", b"")[:6].ljust(6, b"\0")), _chunk(b"ANMF", frame)]
    elif (lossless := chunks.get(b"VP8L")) is not None and lossless[:1] == b"\x2f" and len(lossless) >= 5:
        bits = int.from_bytes(lossless[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        parts = [_chunk(b"VP8L", lossless)]
    elif (lossy := chunks.get(b"VP8 ")) is not None and lossy[3:6] == b"\x9d\x01\x2a" and len(lossy) >= 10:
        width, height = (int.from_bytes(lossy[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        parts = [_chunk(b"VP8 ", lossy)]
        if width and height and (alpha := chunks.get(b"ALPH")) is not None:
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            parts = [_chunk(b"VP8X", bytes((_ALPHA, 0, 0, 0)) + size), _chunk(b"ALPH", alpha), *parts]
    else:
        raise damaged("WebP", len(data), "it ends within its pixels" if is_cut else "there is no picture in it")
    if not (width and height):
        raise damaged("WebP", len(data), f"its header gives a size of {width} x {height}")
    if len(parts[0]) != len(data) - 12 or int.from_bytes(data[4:8], "little") != len(data) - 8:
        body = KIND + b"".join(parts)
        data = MAGIC + len(body).to_bytes(4, "little") + body
    return Header(
        "WebP",
        width,
        height,
        data,
        4,
        _DECODER_BYTES + (_ALPHA_BYTES if b"ALPH" in chunks or frame is not None else 0),
        orientation=exif.orientation(exif_block),
    )


def _chunks(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """The first complete chunk of each type, and whether one is cut off. The file's own size is ignored: it is often
    wrong, by a byte or altogether."""
    chunks: dict[bytes, bytes] = {}
    position, count = 12, 0
    while position + 8 <= len(data):
        count += 1
        if count > MAX_SEGMENTS:
            raise too_many_segments("WebP", data)
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length
        if end > len(data):
            return chunks, True
        kind = data[position : position + 4]
        if kind not in chunks:
            chunks[kind] = data[position + 8 : end]
        position = end + (length & 1)
    return chunks, False


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + bytes(len(content) & 1)
