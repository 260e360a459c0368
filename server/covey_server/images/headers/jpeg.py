"""JPEG: the segments that the pixels need, and where the image ends.

Previews, profiles, notes and films beside or behind the pixels (motion photos, MPO) are left out, and nothing in them
is taken for a part of this image.
"""

from __future__ import annotations

from covey_server.images.headers import exif, jpeg_scans
from covey_server.images.headers.header import MAX_SEGMENTS, Header, damaged, too_many_segments, unsupported
from covey_server.images.headers.jpeg_scans import Frame

MAGIC = b"\xff\xd8\xff"

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE, _EXTENDED, _PROGRESSIVE, _LOSSLESS, _ARITHMETIC, _ARITHMETIC_PROGRESSIVE = 0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA
_OTHER_KINDS = {0xCB: "an arithmetic-coded lossless JPEG"}  # the rest are hierarchical
_DECODED = {_BASELINE, _EXTENDED, _PROGRESSIVE, _LOSSLESS, _ARITHMETIC, _ARITHMETIC_PROGRESSIVE}
_TABLES = frozenset({0xC4, 0xCC, 0xDB, 0xDD})  # Huffman, arithmetic, quantization, restart interval
_SCAN, _END, _RESTART_INTERVAL, _JFIF, _EXIF, _ADOBE = 0xDA, 0xD9, 0xDD, 0xE0, 0xE1, 0xEE
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_END_MARKER = b"\xff\xd9"
_SAVE_AGAIN = "save it again as a baseline JPEG of 8 bits"


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    try:
        return _read(data)
    except IndexError:
        raise damaged("JPEG", len(data), "it ends within its header") from None


def _read(data: bytes) -> Header:
    header_parts = [b"\xff\xd8"]
    frame: Frame | None = None
    orientation: int | None = None
    restart_interval, size = 0, len(data)
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker = data[position + 1]
        if data[position] != 0xFF or marker in (0x00, 0xFF):
            # Stray bytes are skipped, as in libjpeg.
            match = jpeg_scans.MARKER.search(data, position)
            if match is None:
                raise damaged("JPEG", len(data), "it ends within its header")
            position = match.end() - 2
            continue
        if marker in (_SCAN, _END):
            break
        if marker in _ALONE:
            position += 2
            continue
        end = position + 2 + max(2, data[position + 2] << 8 | data[position + 3])
        if end > size:
            raise damaged("JPEG", len(data), "it ends within its header")
        if marker in _FRAMES:
            if frame is not None:
                raise damaged("JPEG", len(data), "it gives its size twice")
            frame = _frame(data, position, end)
            header_parts.append(data[position:end])
        elif marker in _TABLES:
            if marker == _RESTART_INTERVAL:
                restart_interval = int.from_bytes(data[position + 4 : position + 6], "big")
            header_parts.append(data[position:end])
        elif (marker == _JFIF and data.startswith(b"JFIF\0", position + 4) and end - position >= 16) or (
            marker == _ADOBE and data.startswith(b"Adobe", position + 4) and end - position >= 16
        ):
            header_parts.append(data[position:end])  # these tell how colours are stored
        elif marker == _EXIF and orientation is None and data.startswith(b"Exif\0\0", position + 4):
            orientation = exif.orientation(data[position + 4 : end])
        position = end
    else:
        raise too_many_segments("JPEG", data)
    if frame is None or marker == _END:
        raise damaged("JPEG", len(data), "there are no pixels in it")
    return _with_scans(data, position, frame, header_parts, orientation or 1, restart_interval)


def _frame(data: bytes, position: int, end: int) -> Frame:
    """Raises InvalidImage for kinds that the decoder does not know."""
    kind, precision, components = data[position + 1], data[position + 4], data[position + 9]
    height, width = (int.from_bytes(data[position + i : position + i + 2], "big") for i in (5, 7))
    if precision != 8:
        raise unsupported(data, f"a {precision}-bit JPEG", _SAVE_AGAIN)
    if kind not in _DECODED:
        raise unsupported(data, _OTHER_KINDS.get(kind, "a hierarchical JPEG"), _SAVE_AGAIN)
    if components not in (1, 3, 4):
        raise unsupported(data, f"a JPEG of {components} colour components", _SAVE_AGAIN)
    factors = [(byte >> 4, byte & 15) for byte in data[position + 11 : end : 3]]
    if len(factors) != components or not all(h and v for h, v in factors):
        raise damaged("JPEG", len(data), "its header, segment SOF, makes no sense")
    if not (width and height):
        raise damaged("JPEG", len(data), f"its header gives a size of {width} x {height}")
    return Frame(kind, width, height, bytes(data[position + 10 : end : 3]), factors)


def _with_scans(
    data: bytes, position: int, frame: Frame, header_parts: list[bytes], orientation: int, restart_interval: int
) -> Header:
    """`position`: of the first scan."""
    components = len(frame.names)
    progressive = frame.kind in (_PROGRESSIVE, _ARITHMETIC_PROGRESSIVE)
    arithmetic = frame.kind in (_ARITHMETIC, _ARITHMETIC_PROGRESSIVE)
    in_one_scan = not progressive and data[position + 4] == components
    scan_end: int | None = None
    head = b"".join(header_parts)
    if in_one_scan:
        start = position + 2 + jpeg_scans.length(data, position)
        end, tail = jpeg_scans.end_of_data(data, start), jpeg_scans.PADDING
    else:
        last_end, end = jpeg_scans.walk(data, position, frame, restart_interval, check_restarts=not arithmetic)
        tail = _END_MARKER
        if not arithmetic:
            scan_end = len(head) + last_end - position
    if arithmetic or frame.kind == _LOSSLESS:  # their data may end early, by the standard, and use other codes
        tail = _END_MARKER
    return Header(
        "JPEG",
        frame.width,
        frame.height,
        b"".join((head, memoryview(data)[position:end], tail)),
        pixel_bytes=1 if components == 1 else 4,
        # With several scans the decoder keeps the coefficients of all pixels, 16 bits each, and some padding.
        decoder_bytes=0.0 if in_one_scan else 2.1 * frame.samples_per_pixel,
        orientation=orientation,
        can_shrink=frame.kind != _LOSSLESS,
        scan_end=scan_end,
    )
