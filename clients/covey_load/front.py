"""Finds out what speaks HTTP/2 for a server: gRPC's C core, as Covey's grpcio front, or something else."""

from __future__ import annotations

import enum
from collections.abc import Callable

from covey_load.wire.frames import ACK, PREFACE, SETTINGS, frame, frame_header, setting
from covey_load.wire.sockets import Endpoint

_TRUE_BINARY_METADATA = 0xFE03  # a setting of HTTP/2 that gRPC's C core sends, and nobody else
_MAX_BYTES = 1 << 16


class Front(enum.Enum):
    GRPCIO = "grpcio"
    OTHER = "other"  # Covey's native one, a proxy, another language's gRPC
    UNKNOWN = "unknown"


def find_front(endpoint: Endpoint) -> Front:
    """By the settings that the server sends first. Never raises; it opens one connection and closes it."""
    try:
        connected = endpoint.connect("h2")
    except OSError:
        return Front.UNKNOWN
    try:
        connected.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        names = _first_settings(connected.recv)
    except (OSError, ValueError):
        return Front.UNKNOWN
    finally:
        connected.close()
    return Front.GRPCIO if _TRUE_BINARY_METADATA in names else Front.OTHER


def _first_settings(recv: Callable[[int], bytes]) -> set[int]:
    """Raises ValueError where none come."""
    data = b""
    header_bytes = frame_header.size
    while len(data) < _MAX_BYTES:
        position = 0
        while len(data) - position >= header_bytes:
            length_and_kind, flags, _ = frame_header.unpack_from(data, position)
            start = position + header_bytes
            end = start + (length_and_kind >> 8)
            if len(data) < end:
                break
            if length_and_kind & 0xFF == SETTINGS and not flags & ACK:
                return {name for name, _ in setting.iter_unpack(data[start:end])}
            position = end
        received = recv(_MAX_BYTES)
        if not received:
            break
        data += received
    raise ValueError("no settings came")
