"""Images made smaller before they are sent, on request: the bytes of a photograph that no model looks at stay here.

What the server would do first is done here instead, by the same rule: an image is averaged down by a whole factor to
no less than twice the model's size, so that the answer is the same but for the rounding of pixels. The result travels
as a PNG, without further loss. Needs Pillow.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from covey import pillow
from covey.errors import InvalidInput
from covey.results import InputSize
from covey_proto import image_formats

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
    factor = min(image.size) // _least_side(size)
    if factor <= 1 or image.mode not in _REDUCIBLE:
        return pillow.to_png(image)
    return pillow.to_png(image, lambda image: _flat(image, size).reduce(factor))


def smaller_file(data: bytes, size: InputSize) -> bytes:
    """The image file `data`, smaller; as it is where that saves nothing, or where the server has to judge it."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data), formats=_PARSERS) as image:
            if min(image.size) < 2 * _least_side(size) or math.prod(image.size) > _MAX_PIXELS:
                return data
            if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
                return data  # one transparent level or colour, counted in the file's own bits: the server knows them
            image.draft(None, _draft_size(image.size, _least_side(size)))
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


def _least_side(size: InputSize) -> int:
    """Twice the model's size, and more where its edges are cut off: the server's rule (docs/decoding.md)."""
    return math.ceil(2 * max(size.width, size.height) / size.crop)


def _draft_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    short = min(size)
    return (max(1, size[0] * side // short), max(1, size[1] * side // short))
