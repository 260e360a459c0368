"""Owns the bytes: HTTP/2 frames, HPACK literals and gRPC messages as unary calls need them. No socket.

Everything of a request that does not change is encoded once; per call only the stream id is filled in.

Sources: RFC 9113 (HTTP/2), RFC 7541 (HPACK) and "gRPC over HTTP2"
(https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md).
"""

import struct
from collections.abc import Iterable

# Frame types, RFC 9113 section 6.
DATA = 0x0
HEADERS = 0x1
RST_STREAM = 0x3
SETTINGS = 0x4
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8

# Flags. ACK (of SETTINGS and PING) and END_STREAM (of DATA and HEADERS) share a bit.
ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4

# Settings, RFC 9113 section 6.5.2, and their values before the server has spoken.
HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
DEFAULT_WINDOW_BYTES = 65_535
DEFAULT_MAX_FRAME_BYTES = 16_384

CANCEL = 0x8  # error code, RFC 9113 section 7
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
MESSAGE_PREFIX_BYTES = 5  # of gRPC's, before a message: whether it is compressed, and its length
MAX_FRAME_BYTES = 2**24 - 1
MAX_WINDOW_BYTES = 2**31 - 1
MAX_STREAM_ID = 2**31 - 1

frame_header = struct.Struct(">IBI")  # length and type in one word, flags, stream id
word = struct.Struct(">I")
setting = struct.Struct(">HI")


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame (RFC 9113, section 4.1)."""
    return frame_header.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def header_block(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as HPACK literals without indexing, plain strings (RFC 7541, sections 6.2.2 and 5.2).

    Such a block refers to no table, so the same bytes serve every call of every connection.
    """
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in headers)


def _string(text: str) -> bytes:
    octets = text.encode("ascii")
    return _seven_bit_integer(len(octets)) + octets


def _seven_bit_integer(value: int) -> bytes:
    """RFC 7541, section 5.1, with a prefix of seven bits."""
    if value < 127:
        return bytes((value,))
    encoded = bytearray((127,))
    value -= 127
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def length_prefixed(message: bytes) -> bytes:
    """A gRPC message as it stands in DATA frames: uncompressed flag, length, message."""
    return struct.pack(">BI", 0, len(message)) + message


class Request:
    """One message of one method, encoded but for the stream id. Shared by all calls and connections."""

    def __init__(
        self,
        authority: str,
        method: str,
        message: bytes,
        timeout_s: float | None = None,
        number: int = 0,
        *,
        scheme: str = "http",
        metadata: Iterable[tuple[str, str]] = (),
    ) -> None:
        """`method` is the full path, /package.Service/Method; `timeout_s` is sent as the call's deadline, in whole
        milliseconds. `number` is the caller's own, to know the message by; `metadata` are further headers."""
        headers = [
            (":method", "POST"),
            (":scheme", scheme),
            (":path", method),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "covey-load"),
            *metadata,
        ]
        if timeout_s is not None:
            headers.append(("grpc-timeout", f"{max(round(timeout_s * 1000), 1)}m"))
        block = header_block(headers)
        self.number = number
        self.body = length_prefixed(message)
        self.headers_start = frame(HEADERS, END_HEADERS, 0, block)[:5]
        self.headers_end = block
        # What stands before the body where all of it fits in one DATA frame; such a frame has a length of 24 bits.
        size = min(len(self.body), MAX_FRAME_BYTES)
        self.body_start = block + frame_header.pack(size << 8 | DATA, END_STREAM, 0)[:5]
