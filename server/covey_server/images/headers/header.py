"""The result of walking through a file of any format, and the errors for that."""

from __future__ import annotations

from dataclasses import dataclass

from covey_server.errors import InvalidImage

# Of one file. Each takes about half a microsecond with the GIL held. A large photograph has dozens, a PNG of 64 MB in
# pieces of 8 KB about 8,000.
MAX_SEGMENTS = 25_000


@dataclass(slots=True)
class Header:
    """An image file before its pixels are decoded.

    The decoder gets `data`. A decoded pixel takes `pixel_bytes` in Pillow's memory; the decoder takes `decoder_bytes`
    more for each pixel of the full size (measured: docs/decoding.md).
    """

    format: str
    width: int
    height: int
    data: bytes
    pixel_bytes: int
    decoder_bytes: float = 0.0
    orientation: int | None = 1  # by EXIF: 1 is upright, 2 to 8 have to be turned; None: Pillow's parser knows
    can_shrink: bool = False  # whether it can be decoded at 1/2, 1/4 or 1/8 of its size
    file_bytes: int = 0
    scan_end: int | None = None  # of a JPEG of several scans: where the data of the last one end

    @property
    def pixels(self) -> int:
        return self.width * self.height


def damaged(kind: str, size_bytes: int, reason: str) -> InvalidImage:
    """The error for a file that is damaged or cut off."""
    return InvalidImage(
        f"the {kind} image of {size_bytes:,} bytes is damaged or cut off ({reason}); send the whole file", "damaged"
    )


def unsupported(data: bytes, kind: str, advice: str) -> InvalidImage:
    """The error for a complete file of a kind that is not decoded here."""
    return InvalidImage(f"the {len(data):,} bytes are {kind}, which is not decoded here; {advice}", "unsupported")


def too_many_segments(kind: str, data: bytes) -> InvalidImage:
    """The error for a file whose headers alone would keep a thread busy."""
    return InvalidImage(
        f"the {kind} image of {len(data):,} bytes is made of more than {MAX_SEGMENTS:,} pieces; save it again",
        "too_many_parts",
    )
