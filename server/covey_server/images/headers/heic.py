"""HEIC: the image's size, from its boxes. libheif checks the HEVC data, by its own limits."""

from __future__ import annotations

from covey_server.images.headers import iso_media
from covey_server.images.headers.header import Header, damaged

# Measured: 8.4 bytes in all for 8 bits; twice the planes for 10.
_PIXEL_BYTES, _DECODER_BYTES = 4, 8.0


def read(data: bytes) -> Header:
    """Raises InvalidImage."""
    try:
        container = iso_media.read(data, b"")
    except iso_media.Unreadable as error:
        raise damaged("HEIC", len(data), str(error)) from None
    if not (container.width and container.height):
        raise damaged("HEIC", len(data), f"its header gives a size of {container.width} x {container.height}")
    return Header(
        "HEIC", container.width, container.height, container.data, _PIXEL_BYTES, _DECODER_BYTES, orientation=None
    )
