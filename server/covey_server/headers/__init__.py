"""What an image file says before a pixel is decoded: its format, its size, how it is turned, and which of its bytes a
decoder needs.

Pillow allocates as soon as it opens some files (WebP's canvas, what lies under a GIF's frame) and reads everything
that stands beside the pixels: text, profiles, previews. One wrong byte there and it gives the image up, where libpng,
libjpeg and browsers show it. So each format's file is walked here once, by its segments; what the pixels do not need
is left out, and what they need has to be whole.
"""

from __future__ import annotations

from covey_server.headers import gif, jpeg, png, webp
from covey_server.headers.header import Header

__all__ = ["Header", "read"]


def read(data: bytes) -> Header | None:
    """The header of a JPEG, PNG, WebP or GIF file; None for any other. Raises InvalidImage."""
    if data.startswith(jpeg.MAGIC):
        header = jpeg.read(data)
    elif data.startswith(png.MAGIC):
        header = png.read(data)
    elif data.startswith(webp.MAGIC) and data[8:12] == webp.KIND:
        header = webp.read(data)
    elif data.startswith(gif.MAGICS):
        header = gif.read(data)
    else:
        return None
    header.file_bytes = len(data)
    return header
