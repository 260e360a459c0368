"""Reads AVIF: the image's size, and the memory that its decoder will take, from the AV1 data themselves.

The boxes around the data can say 10 x 10 when the data are of 16,384 x 16,384, which the decoder would allocate before
anything is compared. It also keeps every frame of the data, hidden ones too.
"""

from __future__ import annotations

from covey_server.images.headers import iso_media
from covey_server.images.headers.header import Header, damaged

_SEQUENCE, _FRAME_HEADER, _FRAME = 1, 3, 6  # types of OBUs, the pieces of AV1
_MAX_FRAMES = 4  # of one part; a layered image has as many
_MAX_OBUS = 10_000
_MAX_LARGER, _SMALL_PIXELS = 2, 65_536  # a part may have so many times the image's pixels, and some more
_OUTPUT_BYTES = 8.5  # per pixel: RGBA from libavif, and the image in Pillow's memory
_DECODER_BYTES = 1 << 20  # of each part's decoder, beside its frames


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    try:
        container = iso_media.read(data, b"avif")
        coded = [extents for kind, extents in container.items if kind == b"av01"]
        if not (coded and container.width and container.height):
            raise iso_media.Unreadable("there is no still image in it")
        if sum(end - start for extents in coded for start, end in extents) > 2 * len(data):
            raise iso_media.Unreadable("its parts overlap")
        pixels = container.width * container.height
        parts = [_part(b"".join(data[start:end] for start, end in extents)) for extents in coded]
        if any(part_pixels > _MAX_LARGER * pixels + _SMALL_PIXELS for part_pixels, _ in parts):
            raise iso_media.Unreadable(
                f"it says {container.width} x {container.height}, and a part of it is far larger"
            )
    except iso_media.Unreadable as error:
        raise damaged("AVIF", len(data), str(error)) from None
    decoder_bytes = sum(part_bytes + _DECODER_BYTES for _, part_bytes in parts) / pixels + _OUTPUT_BYTES - 4
    return Header("AVIF", container.width, container.height, container.data, 4, decoder_bytes, orientation=None)


def _part(data: bytes) -> tuple[int, float]:
    """The pixels of one part's largest frame, and the bytes that the decoder allocates for the part: the planes of its
    frames, and once more for film grain."""
    pixels, largest, frames, position = 0, 0.0, 0, 0
    for _ in range(_MAX_OBUS):
        if position >= len(data):
            break
        head = data[position]
        kind = head >> 3 & 15
        position += 2 if head & 4 else 1
        if head & 2:
            size, position = _leb128(data, position)
        else:
            size = len(data) - position
        if kind == _SEQUENCE:
            frame_pixels, pixel_bytes = _largest_frame(data[position : position + min(size, 256)])
            pixels, largest = max(pixels, frame_pixels), max(largest, frame_pixels * pixel_bytes)
        frames += kind in (_FRAME_HEADER, _FRAME)
        position += size
    else:
        raise iso_media.Unreadable(f"it is made of more than {_MAX_OBUS:,} pieces")
    if not largest:
        raise iso_media.Unreadable("its AV1 data have no header")
    if frames > _MAX_FRAMES:
        raise iso_media.Unreadable(f"a part of it holds {frames} frames, at most {_MAX_FRAMES} are decoded here")
    return pixels, largest * (frames + 1)


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for place in range(8):
        if position >= len(data):
            raise iso_media.Unreadable("its AV1 data end early")
        byte = data[position]
        position += 1
        value |= (byte & 127) << (7 * place)
        if byte < 128:
            return value, position
    raise iso_media.Unreadable("its AV1 data make no sense")


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        """Raises Unreadable if fewer bits are left."""
        self._left -= count
        if self._left < 0:
            raise iso_media.Unreadable("its AV1 data end early")
        return self._value >> self._left & ((1 << count) - 1)


def _largest_frame(data: bytes) -> tuple[int, float]:
    """A sequence header's pixels, and the bytes of its planes per pixel (AV1 specification, 5.5)."""
    bits = _Bits(data)
    profile = bits.take(3)
    bits.take(1)
    is_reduced = bits.take(1)
    if is_reduced:
        bits.take(5)
    else:
        _take_timing(bits)
    across, down = bits.take(4) + 1, bits.take(4) + 1
    pixels = (bits.take(across) + 1) * (bits.take(down) + 1)
    if not is_reduced and bits.take(1):
        bits.take(7)
    bits.take(3)
    if not is_reduced:
        _take_tools(bits)
    bits.take(3)
    sample_bytes = 2 if bits.take(1) else 1
    return pixels, sample_bytes * (1.5 if profile == 0 else 3.0)


def _take_timing(bits: _Bits) -> None:
    delay_bits = 0
    has_model = False
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            zeros = 0
            while not bits.take(1):
                zeros += 1
            bits.take(zeros)
        has_model = bool(bits.take(1))
        if has_model:
            delay_bits = bits.take(5) + 1
            bits.take(42)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if has_model and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)


def _take_tools(bits: _Bits) -> None:
    bits.take(4)
    has_order_hint = bits.take(1)
    if has_order_hint:
        bits.take(2)
    forces_screen_content = 2 if bits.take(1) else bits.take(1)
    if forces_screen_content and not bits.take(1):
        bits.take(1)
    if has_order_hint:
        bits.take(3)
