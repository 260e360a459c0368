"""Owns the files between a benchmark and its load generators: gRPC messages one after the other, each behind its flag
and length, as they stand on the wire; before an answer stands the number of the message it answers.

Only the standard library: the generators read and write these.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from covey.security import Metadata
from covey_load.wire.frames import Request, length_prefixed

_PREFIX_BYTES = 5
_number = struct.Struct(">I")


def write(path: Path, messages: Iterable[bytes]) -> None:
    """Writes messages for a generator."""
    path.write_bytes(b"".join(map(length_prefixed, messages)))


def read(path: Path) -> list[bytes]:
    """The messages of a file.

    Raises:
        ValueError: there is none, or the last one is incomplete.
    """
    octets = path.read_bytes()
    messages: list[bytes] = []
    position = 0
    while position < len(octets):
        start, end = _bounds(octets, position)
        if start > len(octets) or end > len(octets):
            raise ValueError(f"message {len(messages)} is cut off at byte {len(octets)}")
        messages.append(octets[start:end])
        position = end
    if not messages:
        raise ValueError(f"no message in {path}")
    return messages


def read_requests(
    path: Path, authority: str, method: str, timeout_s: float | None, metadata: Metadata | None = None
) -> list[Request]:
    """The messages of a file as requests, numbered from 0, each with this metadata. Raises ValueError as `read`."""
    return [
        Request(authority, method, each, timeout_s, number, metadata=metadata or ())
        for number, each in enumerate(read(path))
    ]


def write_answers(path: Path, answers: Iterable[tuple[int, bytes]]) -> None:
    """Writes answers: number of the message that was sent, and what came, prefix included."""
    with path.open("wb") as file:
        file.writelines(_number.pack(number) + message for number, message in answers)


def read_answers(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbers and messages, without prefixes."""
    octets = path.read_bytes()
    position = 0
    while position < len(octets):
        (number,) = _number.unpack_from(octets, position)
        start, end = _bounds(octets, position + _number.size)
        yield number, octets[start:end]
        position = end


def _bounds(octets: bytes, position: int) -> tuple[int, int]:
    start = position + _PREFIX_BYTES
    return start, start + int.from_bytes(octets[position + 1 : start], "big")
