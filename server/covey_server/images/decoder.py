"""Decodes one image within the limits: of its pixels, of the formats, and of the memory that all decoders share."""

from __future__ import annotations

from collections.abc import Callable, Collection

from covey_proto import image_formats
from covey_proto.image_formats import Format
from covey_server.images.decode_budget import DecodeBudget
from covey_server.images.headers.header import Header
from covey_server.images.pixels import InputSpec, decode_into, needed_bytes, read_header


class Decoder:
    """Decodes images, on as many threads at once as `budget` was made for."""

    def __init__(
        self, max_pixels: int, budget: DecodeBudget, formats: Collection[Format] = image_formats.DEFAULT
    ) -> None:
        self.budget = budget
        self._max_pixels = max_pixels
        self._formats = formats

    def look(self, image: bytes, spec: InputSpec) -> tuple[Header, int]:
        """Reads an image's header and computes the memory for decoding it. Raises InvalidImage, ImageTooLarge."""
        header = read_header(image, self._max_pixels, self._formats)
        needed = needed_bytes(header, spec)
        if needed > self.budget.small_bytes:
            self.budget.require_fits(needed, f"the {header.format} image of {header.width} x {header.height} pixels")
        return header, needed

    def decode(
        self, place: memoryview, header: Header, spec: InputSpec, needed_bytes: int, check: Callable[[], None]
    ) -> None:
        """As `pixels.decode_into`, once the memory is there; `check` is called while a large image waits for it, and if
        it raises, the waiting ends. Raises InvalidImage."""
        if needed_bytes <= self.budget.small_bytes:
            decode_into(place, header, spec)
            return
        with self.budget.reserve(needed_bytes, check):
            decode_into(place, header, spec)
