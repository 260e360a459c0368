"""PIL images, without importing PIL: whoever holds one has imported it already."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard

from covey.errors import InvalidInput

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_ORIENTATION = 0x0112  # the EXIF tag
_FASTEST = 1  # of zlib's levels, all lossless
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I;16B"})
_SENT_AS = {
    **dict.fromkeys(("CMYK", "HSV", "LAB", "RGBX", "YCbCr"), "RGB"),
    **{"La": "LA", "PA": "RGBA", "RGBa": "RGBA"},  # their transparency is part of what they show
}


def is_image(value: object) -> TypeGuard[PILImage]:
    """Whether `value` is a PIL image."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(value, module.Image)


def to_png(image: PILImage, changed: Callable[[PILImage], PILImage] | None = None) -> bytes:
    """`image`, or what `changed` makes of it, as a lossless PNG file. Colour modes that PNG has not are sent as RGB,
    with alpha where they have it.

    An image just opened from a file keeps its EXIF orientation, so that it is answered as the file would be.
    One that was made or changed in memory is sent as its pixels lie.

    Raises InvalidInput for an empty image, one whose file is damaged, and modes without a range (F, I).
    """
    if not all(image.size):
        raise InvalidInput(f"no image: the PIL image is empty, of size {image.width} x {image.height}")
    if image.mode not in _PNG_MODES and image.mode not in _SENT_AS:
        raise InvalidInput(
            f"a PIL image of mode {image.mode}, whose values have no known range; "
            f"scale them to 0 to 255 and give the NumPy array, as uint8"
        )
    file = io.BytesIO()
    try:
        exif = _orientation(image)
        sendable = image if changed is None else changed(image)
        if sendable.mode in _SENT_AS:
            sendable = sendable.convert(_SENT_AS[sendable.mode])
        sendable.save(file, "PNG", compress_level=_FASTEST, exif=exif)
    except (OSError, SyntaxError, ValueError) as error:  # PIL reads lazily: it may turn out damaged only now
        raise InvalidInput(f"the PIL image cannot be read ({error})") from error
    return file.getvalue()


def _orientation(image: PILImage) -> bytes:
    """EXIF data of nothing but the orientation; empty for an image that is not straight from a file."""
    opened = sys.modules.get("PIL.ImageFile")
    if opened is None or not isinstance(image, opened.ImageFile):
        return b""
    orientation = image.getexif().get(_ORIENTATION)
    if orientation is None:
        return b""
    exif = sys.modules["PIL.Image"].Exif()
    exif[_ORIENTATION] = orientation
    data: bytes = exif.tobytes()
    return data
