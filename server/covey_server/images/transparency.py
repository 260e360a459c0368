"""Puts transparent images on a model's background colour, as a browser shows them over a page.

Done at the image's full size, before any resizing: the hidden colour of transparent pixels must not mix into their
neighbours.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops
from PIL.ImageFile import ImageFile

from covey_proto.colours import Colour

Key = int | tuple[int, int, int] | bytes  # as Pillow gives it: a grey level, a colour, a palette index; or alphas

_OPAQUE = 255
_HISTOGRAM_ROWS = 64
_FACTORS = {"1": 255, "L;2": 85, "L;4": 17}  # from the levels that a PNG's file counts in to those of its pixels


def transparent_colour(image: ImageFile) -> Key | None:
    """The transparent colour of an image without an alpha channel, in the values that its pixels will have; None if
    there is none.

    To be called before the image is loaded: a PNG tells it in its file's own bit depth, which is forgotten later.
    """
    transparent: Key | None = image.info.get("transparency")
    if transparent is None or image.format != "PNG":
        return transparent
    raw = image.tile[0].args if image.tile else ""
    if isinstance(transparent, tuple) and raw == "RGB;16B":  # Pillow keeps the upper 8 bits of its values
        return (transparent[0] >> 8, transparent[1] >> 8, transparent[2] >> 8)
    if isinstance(transparent, int) and raw in _FACTORS:
        factor = _FACTORS[raw]
        return transparent % (255 // factor + 1) * factor
    return transparent


def flatten(image: Image.Image, key: Key | None, background: Colour | None, *, grey: bool) -> Image.Image:
    """Puts the loaded `image` on the background; the result has a mode without alpha.

    With no background, its transparency is dropped.

    With `grey` the model takes one channel, so the background's luminance is enough. The image may be changed in place.
    """
    image.info.pop("transparency", None)  # else Pillow's conversions would use it again
    if background is None:
        return image
    if grey:
        background = (_luminance(background),) * 3
    if image.mode == "P":
        return _flatten_palette(image, key, background)
    if image.mode in ("La", "PA", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode in ("LA", "RGBA"):
        return _blend_over(image, background)
    if key is None:
        return image
    if image.mode.startswith("I;16"):
        return _flatten_16_bit(image, key, background)
    if image.mode == "1":
        image = image.convert("L")
    mask = _mask_of_colour(image, key)
    if image.mode == "L" and len(set(background)) > 1:
        image = image.convert("RGB")
    image.paste(_solid(image, background), (0, 0), mask)
    return image


def clear_outside(image: Image.Image, frame: tuple[int, int, int, int], background: Colour) -> None:
    """Fills the area around the `frame` (left, top, right, bottom) of a loaded GIF without transparency with the
    background, in place. Pillow fills it with one of the file's colours; browsers leave it transparent.

    A file that uses all 256 colours within its frame gets the one nearest to the background.
    """
    left, top, right, bottom = frame
    if frame == (0, 0, *image.size):
        return
    if image.mode == "L":
        image.putpalette(bytes(level for level in range(256) for _ in range(3)))  # makes it mode P, pixels unchanged
    colours = np.zeros((256, 3), np.int32)
    palette = np.array(image.getpalette("RGB"), np.int32).reshape(-1, 3)
    colours[: len(palette)] = palette
    used = np.zeros(256, np.int64)
    for start in range(top, bottom, _HISTOGRAM_ROWS):  # by strips: a copy of the frame would double the memory
        used += image.crop((left, start, right, min(start + _HISTOGRAM_ROWS, bottom))).histogram()
    place = int(used.argmin())
    if used[place]:
        place = int(np.square(colours - background).sum(axis=1).argmin())
    else:
        colours[place] = background
        image.putpalette(colours.astype(np.uint8).tobytes())
    width, height = image.size
    for box in ((0, 0, width, top), (0, bottom, width, height), (0, top, left, bottom), (right, top, width, bottom)):
        if box[0] < box[2] and box[1] < box[3]:
            image.paste(place, box)


def _blend_over(image: Image.Image, background: Colour) -> Image.Image:
    """An LA or RGBA image blended over one colour; pasting the colour would take five times as long."""
    if image.mode == "LA" and len(set(background)) > 1:
        image = image.convert("RGBA")
    colours = image.convert(image.mode.removesuffix("A"))
    under = _solid(colours, background)
    under.paste(colours, (0, 0), image.getchannel("A"))
    return under


def _solid(image: Image.Image, colour: Colour) -> Image.Image:
    """An image of one colour, in the size and mode, L or RGB, of this one."""
    return Image.new(image.mode, image.size, colour[0] if image.mode == "L" else colour)


def _mask_of_colour(image: Image.Image, key: Key | None) -> Image.Image:
    """A mask of mode L: 255 where an L or RGB image has the colour `key`, else 0."""
    levels = key if isinstance(key, tuple) else (key,) * len(image.getbands())
    mask: Image.Image | None = None
    for band, level in zip(image.split(), levels, strict=True):
        matches = band.point([_OPAQUE * (value == level) for value in range(256)])
        mask = matches if mask is None else ImageChops.darker(mask, matches)
    assert mask is not None  # an image has a band
    return mask


def _flatten_palette(image: Image.Image, key: Key | None, background: Colour) -> Image.Image:
    """A palette image over one colour: its palette is blended, not its pixels."""
    if image.palette is not None and image.palette.mode.endswith("A"):
        return _blend_over(image.convert("RGBA"), background)
    if key is None:
        return image
    colours = np.zeros((256, 3), np.uint16)
    palette = np.array(image.getpalette("RGB") or (), np.uint16).reshape(-1, 3)
    colours[: len(palette)] = palette
    alphas = np.full((256, 1), _OPAQUE, np.uint16)
    if isinstance(key, bytes):
        stored = np.frombuffer(key[:256], np.uint8)
        alphas[: len(stored), 0] = stored
    elif isinstance(key, int) and key < 256:
        alphas[key] = 0
    blended = (colours * alphas + np.array(background, np.uint16) * (_OPAQUE - alphas) + _OPAQUE // 2) // _OPAQUE
    image.putpalette(blended.astype(np.uint8).tobytes())
    return image


def _flatten_16_bit(image: Image.Image, key: Key, background: Colour) -> Image.Image:
    """A 16-bit grey image over one colour: compared in all 16 bits, of which the upper 8 are kept."""
    levels = np.asarray(image)
    shown = (levels >> 8).astype(np.uint8)
    if len(set(background)) == 1:
        shown[levels == key] = background[0]
        return Image.fromarray(shown)
    flat = Image.fromarray(shown).convert("RGB")
    flat.paste(background, (0, 0, *flat.size), Image.fromarray((levels == key).astype(np.uint8) * _OPAQUE))
    return flat


def _luminance(colour: Colour) -> int:
    """A colour's grey level, as Pillow converts RGB."""
    red, green, blue = colour
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
