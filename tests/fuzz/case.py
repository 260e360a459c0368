"""Owns what one case is: a whole request as it goes on the wire, and what it may be answered with."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.fuzz import headers

ANSWERS = frozenset({0, 3, 5, 8})  # OK, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED


@dataclass(frozen=True)
class Case:
    """Request `number`. `alone`: it may cost its connection, so it gets one of its own. `expected` is the class that
    the answer must name, image by image, where the request is right."""

    number: int
    kind: str
    headers: headers.Headers
    body: bytes
    allowed: frozenset[int] = ANSWERS
    alone: bool = False
    expected: tuple[int, ...] = field(default=())

    @property
    def path(self) -> str:
        return dict(self.headers).get(b":path", b"").decode("latin-1")


def framed(message: bytes) -> bytes:
    """A message behind gRPC's five bytes: not compressed, its length."""
    return struct.pack(">BI", 0, len(message)) + message
