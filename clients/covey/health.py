"""The one message pair of grpc.health.v1 that the SDK needs, on the wire as the standard has it.

Written out by hand: its generated code is a package of its own, which a client would install for two fields.
"""

from __future__ import annotations

import enum

from covey.messages import Method

SERVER = ""  # the service whose health says: ready


class Health(enum.IntEnum):
    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2


def _serialize(service: str) -> bytes:
    name = service.encode()
    return bytes((0x0A, len(name))) + name if name else b""  # field 1, a string


def _parse(message: bytes) -> Health:
    return Health(message[1]) if message[:1] == b"\x08" and message[1] in (0, 1, 2) else Health.UNKNOWN


CHECK: Method[str, Health] = Method("/grpc.health.v1.Health/Check", _serialize, _parse)
