"""One HTTP/2 connection by hand: for what gRPC's own clients do not send."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Iterator

from covey_load.wire.frames import (
    ACK,
    END_HEADERS,
    FRAME_HEADER_BYTES,
    HEADER_TABLE_SIZE,
    HEADERS,
    MAX_WINDOW_BYTES,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    frame_header,
    header_block,
    setting,
    word,
)

Frame = tuple[int, int, int, bytes]
"""Its kind, flags, stream and payload."""


class RawConnection:
    """Writes and reads frames; acknowledges settings. Raises TimeoutError where nothing comes for 20 s."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 20)
        widening = frame(WINDOW_UPDATE, 0, 0, word.pack(MAX_WINDOW_BYTES - 65_535))
        self.send(PREFACE, frame(SETTINGS, 0, 0, setting.pack(HEADER_TABLE_SIZE, 0)), widening)
        self._unread = b""

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *frames: bytes) -> None:
        """Passes over that the server has closed the connection: reading tells."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(b"".join(frames))

    def frames(self) -> Iterator[Frame]:
        """What comes, until the server closes the connection."""
        while True:
            while len(self._unread) >= FRAME_HEADER_BYTES:
                length_and_kind, flags, stream = frame_header.unpack_from(self._unread)
                end = FRAME_HEADER_BYTES + (length_and_kind >> 8)
                if len(self._unread) < end:
                    break
                payload, self._unread = self._unread[FRAME_HEADER_BYTES:end], self._unread[end:]
                kind = length_and_kind & 0xFF
                if kind == SETTINGS and not flags & ACK:
                    self.send(frame(SETTINGS, ACK, 0))
                yield kind, flags, stream, payload
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionError:
                return
            if not data:
                return
            self._unread += data


def call_headers(path: str, stream: int, more: Iterable[tuple[str, str]] = ()) -> bytes:
    """The HEADERS frame that opens a call."""
    usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("te", "trailers")]
    return frame(HEADERS, END_HEADERS, stream, header_block([*usual, ("content-type", "application/grpc"), *more]))


def compressed(message: bytes) -> bytes:
    """A gRPC message that says it is compressed."""
    return struct.pack(">BI", 1, len(message)) + message
