"""Owns one HTTP/2 connection that keeps the rules only as far as an attack wants: frames are written by hand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass

from covey_load.wire.frames import (
    ACK,
    DATA,
    DEFAULT_MAX_FRAME_BYTES,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_BYTES,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    frame_header,
    header_block,
    setting,
    word,
)
from covey_load.wire.grpc_status import NAMES, status_in

CONNECT_TIMEOUT_S = 5.0
_BURST_BYTES = 1 << 20  # sent before the next look at what came back


@dataclass(frozen=True)
class Place:
    """Where a server listens; `tls` is what a client of it would use."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def connect(self) -> socket.socket:
        """A connected socket. Raises OSError."""
        connected = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        if self.tls is None:
            return connected
        return self.tls.wrap_socket(connected, server_hostname="localhost")


class RawConnection:
    """One connection. Whatever ends it is kept in `closed`, in words; nothing is raised once it is connected."""

    def __init__(self, place: Place, *, window_bytes: int = 2**31 - 1) -> None:
        """Connects and speaks first. `window_bytes` is how much of each answer may be sent. Raises OSError."""
        self.socket = place.connect()
        self.closed = ""
        self.statuses: list[str] = []
        self._next_stream = 1
        self._window = 65_535
        self._initial_window = 65_535
        self._windows: dict[int, int] = {}
        self._received = bytearray()
        settings = setting.pack(HEADER_TABLE_SIZE, 0) + setting.pack(INITIAL_WINDOW_SIZE, window_bytes)
        opening = PREFACE + frame(SETTINGS, 0, 0, settings)
        if window_bytes:
            opening += frame(WINDOW_UPDATE, 0, 0, word.pack(2**31 - 1 - 65_535))
        self.write(opening)
        self.read(0.2)

    def call(self, path: str, headers: Iterable[tuple[str, str]] = ()) -> int:
        """Opens a call and returns its stream."""
        stream = self._next_stream
        self._next_stream += 2
        self._windows[stream] = self._initial_window
        block = header_block(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "localhost"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *headers,
            ]
        )
        self.write(frame(HEADERS, END_HEADERS, stream, block))
        return stream

    def body(self, stream: int, data: bytes, *, end: bool = True, give_up_s: float = 20.0) -> int:
        """Sends data as flow control allows; returns how much was sent."""
        give_up = time.monotonic() + give_up_s
        sent = 0
        view = memoryview(data)
        while sent < len(view) and not self.closed and time.monotonic() < give_up:
            room = min(self._window, self._windows.get(stream, 0), _BURST_BYTES, len(view) - sent)
            if room <= 0:
                if stream not in self._windows:
                    break  # answered or reset
                self.read(0.05)
                continue
            frames = bytearray()
            for place in range(sent, sent + room, DEFAULT_MAX_FRAME_BYTES):
                stop = min(place + DEFAULT_MAX_FRAME_BYTES, sent + room)
                last = end and stop == len(view)
                frames += frame(DATA, END_STREAM if last else 0, stream, bytes(view[place:stop]))
            self.write(frames)
            sent += room
            self._window -= room
            if stream in self._windows:
                self._windows[stream] -= room
            self.read(0.0)
        return sent

    def reset(self, stream: int) -> None:
        """Cancels a call."""
        self._windows.pop(stream, None)
        self.write(frame(RST_STREAM, 0, stream, word.pack(8)))

    def wait_for_answers(self, count: int, timeout_s: float) -> None:
        """Reads until so many calls have ended, or the time is over."""
        give_up = time.monotonic() + timeout_s
        while len(self.statuses) < count and not self.closed and time.monotonic() < give_up:
            self.read(0.1)

    def write(self, data: bytes | bytearray) -> None:
        """Sends bytes as they are."""
        if self.closed:
            return
        try:
            self.socket.settimeout(CONNECT_TIMEOUT_S)
            self.socket.sendall(data)
        except TimeoutError:
            self.closed = "no longer read"
        except OSError as error:
            self.closed = f"closed ({error.__class__.__name__})"

    def read(self, timeout_s: float) -> None:
        """Handles what has come, waiting at most so long for the first of it."""
        while not self.closed:
            try:
                self.socket.settimeout(timeout_s)
                data = self.socket.recv(1 << 16)
            except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
                return
            except OSError as error:
                self.closed = f"closed ({error.__class__.__name__})"
                return
            if not data:
                self.closed = "closed"
                return
            self._received += data
            self._handle()
            timeout_s = 0.0

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError):
            self.socket.close()

    def _handle(self) -> None:
        received = self._received
        while len(received) >= FRAME_HEADER_BYTES:
            length_and_kind, flags, stream = frame_header.unpack_from(received)
            length, kind = length_and_kind >> 8, length_and_kind & 0xFF
            if len(received) < FRAME_HEADER_BYTES + length:
                return
            payload = bytes(received[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + length])
            del received[: FRAME_HEADER_BYTES + length]
            self._frame(kind, flags, stream, payload)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for place in range(0, len(payload), setting.size):
                name, value = setting.unpack_from(payload, place)
                if name == INITIAL_WINDOW_SIZE:
                    for each in self._windows:
                        self._windows[each] += value - self._initial_window
                    self._initial_window = value
            self.write(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE:
            (more,) = word.unpack(payload)
            if stream:
                if stream in self._windows:
                    self._windows[stream] += more
            else:
                self._window += more
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.closed = f"GOAWAY {payload[8:].decode(errors='replace')}".strip()
        elif kind == HEADERS and flags & END_STREAM:
            self._windows.pop(stream, None)
            self.statuses.append(NAMES.get(status_in(payload), "none"))
        elif kind == RST_STREAM:
            self._windows.pop(stream, None)
            self.statuses.append("RST_STREAM")
