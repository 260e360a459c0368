"""Images made smaller before they are sent, on request: the bytes of a photograph that no model looks at stay here.

What the server would do first is done here instead, by the same rule: an image is averaged down by a whole factor to
no less than twice the size it is resized to, so that the answer is the same but for the rounding of pixels. The result
travels as a PNG, without further loss. Needs Pillow.

Models that want every pixel get every pixel: exact ones, those that take the nearest one, those of a newer server.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from covey import pillow
from covey.errors import InvalidInput
from covey.results import InputSize
from covey_proto import image_formats
from covey_proto.interpolation import Interpolation
from covey_proto.resize import Resize

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

_MAX_PIXELS = 50_000_000  # of what is decoded here, as in the server
_PARSERS = tuple(each.pillow for each in image_formats.DEFAULT)  # those that every server reads


def require_pillow() -> None:
    """Raises InvalidInput where Pillow is not installed."""
    try:
        import PIL.Image  # noqa: F401 - heavy, and only needed here
    except ImportError as error:
        raise InvalidInput("downscale=True needs Pillow; install it: pip install pillow") from error


def to_png(image: PILImage, size: InputSize) -> bytes:
    """`image` as a PNG, averaged down by a whole factor where it is large enough for that. Raises InvalidInput."""
    factor = _factor(image.size, size)
    if factor <= 1 or image.mode not in _REDUCIBLE:
        return pillow.to_png(image)
    return pillow.to_png(image, lambda image: _flat(image, size).reduce(factor))


def smaller_file(data: bytes, size: InputSize) -> bytes:
    """The image file `data`, smaller; as it is where that saves nothing, or where the server has to judge it."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=_PARSERS) as image:
            factor = _factor(image.size, size)
            if factor < 2 or math.prod(image.size) > _MAX_PIXELS:
                return data
            if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
                return data  # one transparent level or colour, counted in the file's own bits: the server knows them
            image.draft(None, _draft_size(image.size, factor, size))
            made = to_png(image, size)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError):
        return data  # no image, or a damaged one: the server's words are better
    return made if len(made) < len(data) else data


# The modes that can be averaged, and in which: a palette's numbers cannot.
_REDUCIBLE = {
    "L": "L",
    **dict.fromkeys(("CMYK", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "YCbCr"), "RGB"),
}


def _flat(image: PILImage, size: InputSize) -> PILImage:
    """The image without alpha, over the model's background: what lies hidden must not show in the averages."""
    import PIL.Image

    image.load()  # a palette's transparency may be known only now
    if not image.has_transparency_data:
        return image.convert(_REDUCIBLE[image.mode])
    colours = image.convert("RGBA")
    if size.background:
        colours = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, size.background), colours)
    return colours.convert("RGB")


def _factor(image: tuple[int, int], size: InputSize) -> int:
    """By what whole number an image may be averaged down; 1: not at all."""
    unknown = size.resize is Resize.UNKNOWN or size.interpolation is Interpolation.UNKNOWN
    if unknown or size.exact or size.interpolation is Interpolation.NEAREST:
        return 1
    most = max(1, min(image) // _least_side(size))
    if _is_rounded(size):
        return most
    # The server counts a last column that stands for less than a whole one as such, and could not know it here.
    return next(factor for factor in range(most, 0, -1) if image[0] % factor == 0 == image[1] % factor)


def _is_rounded(size: InputSize) -> bool:
    """Whether the server itself takes the last column of an image that it averages down for a whole one."""
    return size.interpolation is None and size.resize in (Resize.STRETCH, Resize.CENTER_CROP)


def _least_side(size: InputSize) -> int:
    """Twice what the shorter side is resized to: the server's rule (docs/decoding.md)."""
    if size.resize is Resize.SHORTER_SIDE:
        return max(1, 2 * size.resize_to)
    return max(1, math.ceil(2 * max(size.width, size.height) / size.crop))


def _draft_size(image: tuple[int, int], factor: int, size: InputSize) -> tuple[int, int]:
    """The least size at which a JPEG may be decoded."""
    if not _is_rounded(size):
        part = next(part for part in (8, 4, 2, 1) if factor % part == 0)
        return (image[0] // part, image[1] // part)
    side, short = _least_side(size), min(image)
    return (max(1, image[0] * side // short), max(1, image[1] * side // short))
