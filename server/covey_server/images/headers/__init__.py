"""Reads an image file's header, before a pixel is decoded: its format, its size, its orientation, and which bytes the
decoder needs.

Pillow allocates memory when it opens some files (WebP's canvas, what lies under a GIF's frame) and reads everything
beside the pixels: text, profiles, previews. With one wrong byte there it refuses the image, which libpng, libjpeg and
browsers show. So each file is walked once here, segment by segment. What the pixels do not need is left out; what they
need has to be complete.
"""

from __future__ import annotations

from collections.abc import Callable

from covey_proto import image_formats as table
from covey_proto.image_formats import Format
from covey_server.images.headers import avif, bmp, gif, heic, jpeg, png, tiff, webp
from covey_server.images.headers.header import Header

__all__ = ["Header", "read"]

_READERS: dict[Format, Callable[[bytes], Header]] = {
    table.JPEG: jpeg.read,
    table.PNG: png.read,
    table.WEBP: webp.read,
    table.GIF: gif.read,
    table.AVIF: avif.read,
    table.BMP: bmp.read,
    table.TIFF: tiff.read,
    table.HEIC: heic.read,
}


def read(data: bytes, format: Format) -> Header:
    """The header of a file that begins like one of that format. Raises InvalidImage."""
    header = _READERS[format](data)
    header.file_bytes = len(data)
    return header
