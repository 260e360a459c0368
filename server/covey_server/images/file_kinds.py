"""Names the kind of a file that cannot be decoded here, for the message to its sender."""

from __future__ import annotations

import re

_MAGICS: tuple[tuple[int, bytes, str], ...] = (  # the position, the bytes there, and the kind of file
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    (0, b"II\xbc", "a JPEG XR image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\x01\0", "an icon (ICO)"),
    (0, b"\0\0\x02\0", "a cursor (CUR)"),
    (0, b"icns", "an icon (ICNS)"),
    (0, b"qoif", "a QOI image"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (0, b"#?RADIANCE", "a Radiance HDR image"),
    (0, b"BPG\xfb", "a BPG image"),
    (0, b"SIMPLE  =", "a FITS image"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array; send its pixels as pixels.data"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"PK\x03\x04", "a ZIP archive, or an Office document"),
    (0, b"\x1f\x8b", "gzip-compressed data"),
    (0, b"BZh", "bzip2-compressed data"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed data"),
    (0, b"\xfd7zXZ\0", "xz-compressed data"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video"),
    (0, b"OggS", "an Ogg file"),
    (0, b"ID3", "an MP3 file"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x80\x04\x95", "a Python pickle"),
)
_RIFF = {b"AVI ": "an AVI video", b"WAVE": "a WAV sound"}
_BRANDS = {  # of ISO media files
    b"crx ": "a raw photo (CR3)",
    b"jxl ": "a JPEG XL image",
}
_NETPBM = re.compile(rb"P[1-7f]\s")
_INSIDE = ((b"\xff\xd8\xff", "a JPEG"), (b"\x89PNG\r\n\x1a\n", "a PNG"), (b"GIF8", "a GIF"))
_BEGINNINGS = ((b"\xff\xd8", "a JPEG"), (b"\x89PNG", "a PNG"), (b"GIF8", "a GIF"))
_BASE64 = {b"/9j/": "JPEG", b"iVBORw0KGgo": "PNG", b"R0lGOD": "GIF", b"UklGR": "WebP"}
_LOOKED_AT_BYTES = 1024  # of a file
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def describe(data: bytes) -> str:
    """The kind as part of a sentence, with its article: "an HTML page". For unknown kinds the first bytes are shown."""
    start = bytes(data[:_LOOKED_AT_BYTES])
    for position, magic, name in _MAGICS:
        if start.startswith(magic, position):
            return name
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "an MP4 or other ISO media file")
    if start.startswith(b"RIFF"):
        return _RIFF.get(start[8:12], "a RIFF file")
    if start.startswith((b"\x89PNG\n", b"\x89PNG\r\r", b"\x09PNG\r\n", b"\xef\xbf\xbdPNG", b"\xc2\x89PNG")):
        return "a PNG that was transferred as text; send it as binary"
    if start.startswith((b"\xef\xbf\xbd\xef\xbf\xbd", b"\xc3\xbf\xc3\x98\xc3\xbf")):
        return "a binary file, probably a JPEG, that was converted as if it were text; send it as binary"
    for magic, name in _BEGINNINGS:
        if start.startswith(magic):
            return f"{name} with a damaged beginning ({start[:12]!r})"
    if _NETPBM.match(start):
        return "a Netpbm image"
    for magic, name in _INSIDE:
        if (place := start.find(magic)) > 0:
            return f"{name} behind {place} other byte{'s' if place > 1 else ''}"
    if not any(start):
        return "nothing but zeros"
    return _text(start) or f"of no known kind (they begin with {start[:12]!r})"


def _text(start: bytes) -> str | None:
    """What kind of text the bytes are, or None."""
    for bom in _BOMS:
        start = start.removeprefix(bom)
    text = start.lstrip()
    lower = text[:256].lower()
    if lower.startswith(b"data:"):
        return "a data: URL; send the bytes that are coded in it"
    if lower.startswith((b"http://", b"https://", b"file://", b"s3://", b"gs://")):
        return "an address; send the bytes of the file"
    for beginning, kind in _BASE64.items():
        if text.startswith(beginning):
            return f"base64 text of a {kind} image; send the bytes that are coded in it"
    if b"<svg" in lower:
        return "an SVG drawing"
    if lower.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if lower.startswith(b"<"):
        return "XML or HTML text"
    if lower.startswith((b"{", b"[")):
        return "JSON text"
    if lower.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself"
    if text and all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in text):
        return "text"
    return None
