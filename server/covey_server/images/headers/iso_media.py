"""The boxes of ISO media files, such as AVIF and HEIC: the image's size, and where its parts are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_BOXES = 10_000  # a photo of a phone has a few hundred
MAX_ITEMS = 512  # a photo of 48 megapixels is made of 48 or 96 tiles


class Unreadable(Exception):
    """The boxes are damaged; the message says how."""


@dataclass(slots=True)
class Container:
    """What the boxes tell. `width` and `height` are the primary item's. `items` has, by type, the extents of each coded
    item's data. `data` is the file with its moving pictures hidden, so that the still image is shown."""

    data: bytes
    width: int = 0
    height: int = 0
    items: list[tuple[bytes, list[tuple[int, int]]]] = field(default_factory=list)


def read(data: bytes, brand: bytes) -> Container:
    """Raises Unreadable. `brand` is the one for still images; a file of moving pictures is rewritten to it."""
    try:
        return _read(data, brand)
    except (struct.error, IndexError):
        raise Unreadable("it ends within its header") from None


def _read(data: bytes, brand: bytes) -> Container:
    meta: tuple[int, int] | None = None
    still = bytearray()
    budget = [MAX_BOXES]
    for kind, start, end in _boxes(data, 0, len(data), budget):
        if kind == b"meta" and meta is None:
            meta = start + 4, end
        elif kind == b"moov":  # the decoder would show these instead, or count them
            still = still or bytearray(data)
            still[data.rindex(b"moov", 0, start) : data.rindex(b"moov", 0, start) + 4] = b"free"
    if meta is None:
        raise Unreadable("there is no still image in it")
    if still and brand:  # else a decoder would look for the moving pictures
        end = int.from_bytes(data[:4], "big")
        for place in (8, *range(16, min(end, len(data)) - 3, 4)):
            if still[place : place + 4] == brand[:3] + b"s":
                still[place : place + 4] = brand
    container = Container(bytes(still) if still else data)
    boxes = {kind: (start, end) for kind, start, end in _boxes(data, *meta, budget)}
    if not boxes.keys() >= {b"pitm", b"iloc", b"iinf", b"iprp"}:
        raise Unreadable("there is no still image in it")
    start, _ = boxes[b"pitm"]
    primary = _number(data, start + 4, 2 if data[start] == 0 else 4)
    container.width, container.height = _size(data, boxes[b"iprp"], primary, budget)
    kinds = _kinds(data, boxes[b"iinf"], budget)
    places = _places(data, boxes[b"iloc"], boxes.get(b"idat", (0, 0)))
    container.items = [(kind, places[item]) for item, kind in kinds.items() if item in places]
    return container


def _boxes(data: bytes, start: int, end: int, budget: list[int]) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each box."""
    while start + 8 <= end:
        budget[0] -= 1
        if budget[0] < 0:
            raise Unreadable(f"it is made of more than {MAX_BOXES:,} boxes")
        size, kind, content = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], start + 8
        if size == 1:
            size, content = _number(data, start + 8, 8), start + 16
        stop = end if size == 0 else start + size
        if stop > end or stop < content:
            raise Unreadable("a box of it reaches over its end")
        yield kind, content, stop
        start = stop


def _size(data: bytes, properties: tuple[int, int], item: int, budget: list[int]) -> tuple[int, int]:
    """An item's size, from its property `ispe`."""
    boxes = {kind: (start, end) for kind, start, end in _boxes(data, *properties, budget)}
    if not boxes.keys() >= {b"ipco", b"ipma"}:
        raise Unreadable("it does not say how large it is")
    sizes = {
        number: struct.unpack_from(">II", data, start + 4)
        for number, (kind, start, _) in enumerate(_boxes(data, *boxes[b"ipco"], budget), 1)
        if kind == b"ispe"
    }
    position, _ = boxes[b"ipma"]
    version, flags = data[position], data[position + 3]
    count = _number(data, position + 4, 4)
    position += 8
    for _ in range(min(count, 65_536)):
        id_bytes = 2 if version == 0 else 4
        item_id, associations = _number(data, position, id_bytes), data[position + id_bytes]
        position += id_bytes + 1
        width = 2 if flags & 1 else 1
        for place in range(position, position + associations * width, width):
            number = _number(data, place, width) & (0x7FFF if flags & 1 else 0x7F)
            if item_id == item and number in sizes:
                size: tuple[int, int] = sizes[number]
                return size
        position += associations * width
    raise Unreadable("it does not say how large it is")


def _kinds(data: bytes, infos: tuple[int, int], budget: list[int]) -> dict[int, bytes]:
    """The type of each item."""
    start, end = infos
    kinds: dict[int, bytes] = {}
    for kind, content, _ in _boxes(data, start + (6 if data[start] == 0 else 8), end, budget):
        if kind == b"infe" and data[content] >= 2:
            id_bytes = 2 if data[content] == 2 else 4
            place = content + 4 + id_bytes + 2
            kinds[_number(data, content + 4, id_bytes)] = data[place : place + 4]
    return kinds


def _places(data: bytes, locations: tuple[int, int], idat: tuple[int, int]) -> dict[int, list[tuple[int, int]]]:
    """The extents of each item's data, as begin and end in the file; `idat` is the content of the box idat."""
    position, _ = locations
    version = data[position]
    offset_bytes, length_bytes = data[position + 4] >> 4, data[position + 4] & 15
    base_bytes, index_bytes = data[position + 5] >> 4, data[position + 5] & 15 if version in (1, 2) else 0
    id_bytes = 4 if version == 2 else 2
    count = _number(data, position + 6, id_bytes)
    position += 6 + id_bytes
    if count > MAX_ITEMS:
        raise Unreadable(f"it is made of {count:,} parts, at most {MAX_ITEMS} are decoded here")
    places: dict[int, list[tuple[int, int]]] = {}
    for _ in range(count):
        item, position = _number(data, position, id_bytes), position + id_bytes
        method = 0
        if version in (1, 2):
            method, position = data[position + 1] & 15, position + 2
        position += 2
        base, position = _number(data, position, base_bytes), position + base_bytes
        extents, position = _number(data, position, 2), position + 2
        if extents > MAX_ITEMS:
            raise Unreadable(f"a part of it is made of {extents:,} pieces")
        places[item] = []
        for _ in range(extents):
            position += index_bytes
            offset, position = _number(data, position, offset_bytes), position + offset_bytes
            length, position = _number(data, position, length_bytes), position + length_bytes
            start, limit = (idat[0] + base + offset, idat[1]) if method == 1 else (base + offset, len(data))
            stop = limit if length == 0 else start + length
            if method > 1 or start > stop or stop > limit:
                raise Unreadable("a part of it reaches over its end")
            places[item].append((start, stop))
    return places


def _number(data: bytes, start: int, size: int) -> int:
    """Raises IndexError if the data end before."""
    if start + size > len(data):
        raise IndexError
    return int.from_bytes(data[start : start + size], "big")
