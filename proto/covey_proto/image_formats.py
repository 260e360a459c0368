"""The one table of image formats: for the server, the SDK, the command line and data sets. Imports nothing else of
Covey's.

A file's format is told by its content; a suffix only decides which files of a folder are looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `title` is for people, `name` for settings, `pillow` what Pillow calls it."""

    title: str
    suffixes: tuple[str, ...]
    pillow: str
    is_default: bool = True  # decoded by a server that was told nothing of formats
    extra: str = ""  # of covey-serve's, without which it cannot be decoded

    @property
    def name(self) -> str:
        return self.title.lower()

    @property
    def described(self) -> str:
        """With its article: "an AVIF"."""
        return f"{'an' if self.title[0] in 'A' else 'a'} {self.title}"


JPEG = Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG")
PNG = Format("PNG", (".png", ".apng"), "PNG")
WEBP = Format("WebP", (".webp",), "WEBP")
GIF = Format("GIF", (".gif",), "GIF")
AVIF = Format("AVIF", (".avif", ".avifs"), "AVIF")
BMP = Format("BMP", (".bmp", ".dib"), "BMP", is_default=False)
TIFF = Format("TIFF", (".tif", ".tiff"), "TIFF", is_default=False)
HEIC = Format("HEIC", (".heic", ".heics", ".heif", ".hif"), "HEIF", is_default=False, extra="heic")

FORMATS = (JPEG, PNG, WEBP, GIF, AVIF, BMP, TIFF, HEIC)
DEFAULT = tuple(each for each in FORMATS if each.is_default)
_BY_NAME = {each.name: each for each in FORMATS} | {"jpg": JPEG, "tif": TIFF, "heif": HEIC}
_BY_SUFFIX = {suffix: each for each in FORMATS for suffix in each.suffixes}
_BY_BRAND = {  # of ISO media files; mif1 and msf1 say no more than that it is one of images
    **dict.fromkeys((b"avif", b"avis"), AVIF),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), HEIC),
}
_IMAGE_BRANDS = (b"mif1", b"msf1", b"miaf")
_MAX_BRANDS = 64


def identify(data: bytes) -> Format | None:
    """The format that the bytes begin like; None: none of the table."""
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"RIFF"):
        return WEBP if data[8:12] == b"WEBP" else None
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if data[4:8] == b"ftyp":
        return _by_brands(data)
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TIFF
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return BMP
    return None


def of_name(name: str) -> Format | None:
    """The format that a file's suffix, in capitals or not, stands for."""
    dot = name.rfind(".")
    return _BY_SUFFIX.get(name[dot:].lower()) if dot > 0 else None


def parse(text: str) -> tuple[Format, ...]:
    """The formats that a list such as `jpeg,png,heic` names, in the table's order. Raises ValueError."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _BY_NAME]
    if unknown or not names:
        known = ", ".join(each.name for each in FORMATS)
        raise ValueError(f"expected names of image formats, of {known}; got {', '.join(unknown) or 'none'}")
    return tuple(each for each in FORMATS if any(_BY_NAME[name] is each for name in names))


def written(formats: Collection[Format]) -> str:
    """The list that `parse` reads."""
    return ",".join(each.name for each in FORMATS if each in formats)


def listed(formats: Collection[Format] = DEFAULT, conjunction: str = "or") -> str:
    """For people: "JPEG, PNG, WebP, GIF or AVIF"."""
    titles = [each.title for each in FORMATS if each in formats]
    return f" {conjunction} ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)


def suffixes(formats: Collection[Format] = DEFAULT) -> str:
    """For people, the usual one of each: ".jpg, .png, ..."."""
    return ", ".join(each.suffixes[0] for each in FORMATS if each in formats)


def _by_brands(data: bytes) -> Format | None:
    end = min(int.from_bytes(data[:4], "big"), len(data), 16 + 4 * _MAX_BRANDS)
    brands = [data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))]
    for brand in brands:
        if brand in _BY_BRAND:
            return _BY_BRAND[brand]
    return HEIC if any(brand in _IMAGE_BRANDS for brand in brands) else None
