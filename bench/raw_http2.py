"""Owns one HTTP/2 connection that keeps the rules only as far as an attack or a test wants: frames written by hand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from covey_load.wire.frames import (
    ACK,
    CANCEL,
    DATA,
    DEFAULT_MAX_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    FRAME_HEADER_BYTES,
    GOAWAY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_WINDOW_BYTES,
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
SILENCE_TIMEOUT_S = 30.0
_BURST_BYTES = 1 << 20  # sent before the next look at what came back
_MAX_ANSWER_BYTES = 4_096  # kept of each

Frame = tuple[int, int, int, bytes]
"""Its kind, flags, stream and payload."""


@dataclass(frozen=True)
class Place:
    """Where a server listens; `tls` is what a client of it would use."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, target: str, tls: ssl.SSLContext | None = None) -> Self:
        """The place of `HOST:PORT`."""
        host, _, port = target.rpartition(":")
        return cls(host, int(port), tls)

    def connect(self) -> socket.socket:
        """A connected socket. Raises OSError."""
        connected = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        return connected if self.tls is None else self.tls.wrap_socket(connected, server_hostname="localhost")


class RawConnection:
    """One connection. Whatever ends it is kept in `closed`, in words, that it was refused too; `statuses` are those of
    the calls that ended. Acknowledges settings and pings."""

    def __init__(self, place: Place, *, window_bytes: int = MAX_WINDOW_BYTES) -> None:
        """Connects and speaks first. `window_bytes` is how much of each answer may be sent."""
        self.closed = ""
        self.statuses: list[str] = []
        self._has_ended = False
        self._next_stream = 1
        self._window = self._initial_window = DEFAULT_WINDOW_BYTES
        self._windows: dict[int, int] = {}  # of the calls that have not ended
        self._answers: dict[int, bytes] = {}
        self._unread = bytearray()
        try:
            self._socket = place.connect()
        except OSError as error:
            self._socket = socket.socket()
            self._end(f"refused ({error.__class__.__name__})")
            return
        settings = setting.pack(HEADER_TABLE_SIZE, 0) + setting.pack(INITIAL_WINDOW_SIZE, window_bytes)
        self.write(PREFACE, frame(SETTINGS, 0, 0, settings))
        if window_bytes:
            self.write(frame(WINDOW_UPDATE, 0, 0, word.pack(MAX_WINDOW_BYTES - DEFAULT_WINDOW_BYTES)))
        self.read(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, path: str, headers: Iterable[tuple[str, str]] = ()) -> int:
        """Opens a call and returns its stream."""
        stream = self._next_stream
        self._next_stream += 2
        self._windows[stream] = self._initial_window
        self.write(call_headers(path, stream, headers))
        return stream

    def body(self, stream: int, data: bytes, *, end: bool = True, give_up_s: float = 20.0) -> int:
        """Sends data as flow control allows, until the call has ended; returns how many bytes were sent."""
        give_up = time.monotonic() + give_up_s
        sent = 0
        view = memoryview(data)
        while sent < len(view) and not self.closed and time.monotonic() < give_up and stream in self._windows:
            room = min(self._window, self._windows[stream], _BURST_BYTES, len(view) - sent)
            if room <= 0:
                self.read(0.05)
                continue
            frames = []
            for start in range(sent, sent + room, DEFAULT_MAX_FRAME_BYTES):
                stop = min(start + DEFAULT_MAX_FRAME_BYTES, sent + room)
                is_last = end and stop == len(view)
                frames.append(frame(DATA, END_STREAM if is_last else 0, stream, bytes(view[start:stop])))
            self.write(*frames)
            sent += room
            self._window -= room
            self._windows[stream] -= room
            self.read(0.0)
        return sent

    def reset(self, stream: int) -> None:
        """Cancels a call."""
        self._windows.pop(stream, None)
        self.write(frame(RST_STREAM, 0, stream, word.pack(CANCEL)))

    def wait_for_answers(self, count: int, timeout_s: float) -> None:
        """Reads until so many calls have ended, or the time is over."""
        give_up = time.monotonic() + timeout_s
        while len(self.statuses) < count and not self.closed and time.monotonic() < give_up:
            self.read(0.1)

    def answer(self, stream: int) -> bytes:
        """What came back in HEADERS and DATA frames until the call ended, HPACK and all, of which 4 KB are kept; empty
        where the connection ended first."""
        frames = self.frames()
        while stream in self._windows and next(frames, None):
            pass
        return b"" if stream in self._windows else self._answers.get(stream, b"")

    def settle(self) -> None:
        """Returns once the server has read all that was sent: it acknowledges a ping."""
        self.write(frame(PING, 0, 0, bytes(8)))
        for kind, flags, _, _ in self.frames():
            if kind == PING and flags & ACK:
                return

    def write(self, *frames: bytes) -> None:
        """Sends bytes as they are."""
        if self.closed:
            return
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.sendall(b"".join(frames))
        except TimeoutError:
            self.closed = "no longer read"
        except OSError as error:
            self.closed = f"closed ({error.__class__.__name__})"

    def read(self, timeout_s: float) -> None:
        """Reads what has come, waiting at most that long for the first of it."""
        while self._receive(timeout_s):
            while frame_read := self._next_frame():
                self._note(*frame_read)
            timeout_s = 0.0

    def frames(self) -> Iterator[Frame]:
        """The frames that come, until the connection ends. Raises TimeoutError where none comes for half a minute."""
        while True:
            while frame_read := self._next_frame():
                self._note(*frame_read)
                yield frame_read
            if not self._receive(SILENCE_TIMEOUT_S):
                if self._has_ended:
                    return
                raise TimeoutError(f"nothing came for {SILENCE_TIMEOUT_S:g} s")

    def close(self) -> None:
        """Hangs up."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _end(self, reason: str) -> None:
        self._has_ended = True
        self.closed = self.closed or reason

    def _receive(self, timeout_s: float) -> bool:
        """Whether anything came."""
        if self._has_ended:
            return False
        try:
            self._socket.settimeout(timeout_s)
            data = self._socket.recv(1 << 16)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError as error:
            self._end(f"closed ({error.__class__.__name__})")
            return False
        if not data:
            self._end("closed")
        self._unread += data
        return bool(data)

    def _next_frame(self) -> Frame | None:
        if len(self._unread) < FRAME_HEADER_BYTES:
            return None
        length_and_kind, flags, stream = frame_header.unpack_from(self._unread)
        end = FRAME_HEADER_BYTES + (length_and_kind >> 8)
        if len(self._unread) < end:
            return None
        payload = bytes(self._unread[FRAME_HEADER_BYTES:end])
        del self._unread[:end]
        return length_and_kind & 0xFF, flags, stream, payload

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            window = dict(setting.iter_unpack(payload)).get(INITIAL_WINDOW_SIZE, self._initial_window)
            for stream_id in self._windows:
                self._windows[stream_id] += window - self._initial_window
            self._initial_window = window
            self.write(frame(SETTINGS, ACK, 0))
        elif kind == WINDOW_UPDATE:
            (increment,) = word.unpack(payload)
            if not stream:
                self._window += increment
            elif stream in self._windows:
                self._windows[stream] += increment
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.closed = f"GOAWAY {payload[8:].decode(errors='replace')}".strip()
        elif kind in (HEADERS, DATA):
            if stream in self._windows:
                self._answers[stream] = (self._answers.get(stream, b"") + payload)[:_MAX_ANSWER_BYTES]
            if flags & END_STREAM:
                self._windows.pop(stream, None)
                if kind == HEADERS:
                    self.statuses.append(NAMES.get(status_in(payload), "none"))
        elif kind == RST_STREAM:
            self._windows.pop(stream, None)
            self.statuses.append("RST_STREAM")


def call_headers(path: str, stream: int, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """The HEADERS frame that opens a call."""
    fixed = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("te", "trailers")]
    return frame(HEADERS, END_HEADERS, stream, header_block([*fixed, ("content-type", "application/grpc"), *extra]))
