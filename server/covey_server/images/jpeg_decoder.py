"""Decodes JPEGs of several scans, and detects a last scan that is cut off."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from covey_server.images.headers.jpeg_scans import PADDING

# Two bytes of padding at a time. A decoder that waits for a marker takes each at once; within a scan it needs 17 of
# these bits for one code, and so leaves some of the first dozen.
_PIECES = 12


def load(image: JpegImageFile, data: bytes, scan_end: int) -> None:
    """Loads the pixels of an image that was opened from `data` and not loaded yet.

    The decoder gives no pixels of such a file before it has seen the end marker. So it is first given the data up to
    there, and then padding, which it takes either for filling between scans or for missing data. How much of it it
    takes tells which.

    Raises OSError if the data are damaged or end early.
    """
    _, extents, _, arguments = image.tile[0]
    image.load_prepare()
    decoder = Image._getdecoder(image.mode, "jpeg", arguments, image.decoderconfig)
    try:
        decoder.setimage(image.im, extents)
        _feed(decoder.decode, data[:scan_end] + PADDING)
        for _ in range(_PIECES):
            _feed(decoder.decode, PADDING[:2])
        consumed, error = decoder.decode(data[scan_end:])
    finally:
        decoder.cleanup()
    if consumed >= 0 or error:
        raise OSError("broken data stream")
    image.tile = []


def _feed(decode: Callable[[bytes], tuple[int, int]], data: bytes) -> None:
    """Gives the decoder data, all of which it has to take."""
    consumed, _ = decode(data)
    if consumed < 0:
        raise OSError("broken data stream")
    if consumed != len(data):
        raise OSError("its last scan ends early")
