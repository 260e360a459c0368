"""The formats that can be decoded here, each by one of Pillow's parsers. Callers can reach no other parser."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Collection
from typing import Any

from PIL import AvifImagePlugin, BmpImagePlugin, TiffImagePlugin
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from covey_proto import image_formats as table
from covey_proto.image_formats import Format
from covey_server.errors import InvalidConfiguration
from covey_server.images.headers.header import Header

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the decode pool has a thread for each core already

# By title. (Image.open would find the same parsers, but takes 8 us.)
OPEN: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    table.JPEG.title: JpegImageFile,
    table.PNG.title: PngImageFile,
    table.WEBP.title: WebPImageFile,
    table.GIF.title: GifImageFile,
    table.BMP.title: BmpImagePlugin.BmpImageFile,
    table.TIFF.title: TiffImagePlugin.TiffImageFile,
}
if AvifImagePlugin.SUPPORTED:
    OPEN[table.AVIF.title] = AvifImagePlugin.AvifImageFile


def open_image(header: Header) -> ImageFile:
    """Opens an image by its header; its pixels are not read yet. Raises what Pillow's parser does."""
    if header.format == table.HEIC.title and not is_available(table.HEIC):
        raise OSError(_how_to_install(table.HEIC))
    return OPEN[header.format](io.BytesIO(header.data))


def chosen(text: str) -> tuple[Format, ...]:
    """The formats that a setting names. Default formats that this Pillow cannot decode are left out.

    Raises InvalidConfiguration for unknown names, and for other formats that cannot be decoded here.
    """
    try:
        formats = table.parse(text)
    except ValueError as error:
        raise InvalidConfiguration(f"--image-formats {text!r}: {error}") from None
    missing = [format for format in formats if not is_available(format)]
    if missing and formats != table.DEFAULT:
        raise InvalidConfiguration(f"--image-formats {text!r}: {'; '.join(map(_how_to_install, missing))}")
    return tuple(format for format in formats if format not in missing)


def available() -> tuple[Format, ...]:
    """All formats that can be decoded here, which data sets for training may have."""
    return tuple(filter(is_available, table.FORMATS))


def is_available(format: Format) -> bool:
    """Whether a format can be decoded here. The first question for HEIC imports its decoder."""
    if format is table.HEIC and format.title not in OPEN:
        try:
            plugin = importlib.import_module("pillow_heif.as_plugin")
            options: Any = importlib.import_module("pillow_heif.options")
        except ImportError:
            return False
        options.DECODE_THREADS = 1
        options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
        OPEN[format.title] = plugin.HeifImageFile
    return format.title in OPEN


def describe_not_decoded(format: Format, formats: Collection[Format]) -> str:
    """The description, for an error, of a file of a known format that is not among `formats`."""
    if not is_available(format):
        return f"{format.described} image, which cannot be decoded here: {_how_to_install(format)}"
    setting = table.written({*formats, format})
    return f"{format.described} image, which this server decodes if it is started with --image-formats {setting}"


def _how_to_install(missing: Format) -> str:
    if missing.extra:
        return f"{missing.title} needs another package: pip install 'covey-serve[{missing.extra}]'"
    return f"Pillow is built without {missing.title} here: pip install --force-reinstall pillow"
