"""A caller of the edge who minds no rules: HTTP/2 frames over TLS, written one by one."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.certificates import Pair

from covey_load.wire import frames

CLASSIFY = "/covey.v1.Classifier/Classify"
_PIECE_BYTES = 16_000


class RawConnection:
    """An open connection to `address`; reads only where asked to."""

    def __init__(self, address: str, secured: ssl.SSLSocket) -> None:
        self._address = address
        self._socket = secured
        self._windows: dict[int, int] = {0: 65_535}
        self._next_stream = 1
        self._unread = b""
        settings = frames.setting.pack(frames.INITIAL_WINDOW_SIZE, 65_535)
        self._socket.sendall(frames.PREFACE + frames.frame(frames.SETTINGS, 0, 0, settings))

    def begin(self, method: str = CLASSIFY, metadata: Mapping[str, str] | None = None) -> int:
        """Sends a call's headers; the number of its stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        headers = {":method": "POST", ":scheme": "https", ":path": method, ":authority": self._address}
        headers |= {"te": "trailers", "content-type": "application/grpc", **(metadata or {})}
        block = frames.header_block(headers.items())
        self._socket.sendall(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, block))
        self._windows[stream] = 65_535
        return stream

    def send(self, stream: int, body: bytes, *, end: bool = False) -> int:
        """Sends a part of a call's body, as far as the edge takes it before it answers; how many bytes that were."""
        sent = 0
        while sent < len(body):
            room = min(self._windows[0], self._windows[stream], _PIECE_BYTES, len(body) - sent)
            if room > 0:
                last = end and sent + room == len(body)
                piece = body[sent : sent + room]
                self._socket.sendall(frames.frame(frames.DATA, frames.END_STREAM * last, stream, piece))
                sent += room
                self._windows[0] -= room
                self._windows[stream] -= room
            elif not self._read_window(stream):
                break
        return sent

    def settle(self) -> None:
        """Returns once the edge has read all that was sent: it acknowledges a ping."""
        self._socket.sendall(frames.frame(frames.PING, 0, 0, bytes(8)))
        for kind, flags, _, _ in self._frames():
            if kind == frames.PING and flags & frames.ACK:
                return

    def answer(self, stream: int) -> bytes:
        """What comes back in HEADERS and DATA frames until the stream ends, HPACK and all; empty where the connection
        ends first."""
        found = b""
        for kind, flags, number, payload in self._frames():
            if number == stream and kind in (frames.HEADERS, frames.DATA):
                found += payload
                if flags & frames.END_STREAM:
                    return found
            if number == stream and kind == frames.RST_STREAM:
                return found
        return b""

    def _read_window(self, stream: int) -> bool:
        for kind, _, number, payload in self._frames():
            if kind == frames.WINDOW_UPDATE:
                self._windows[number] = self._windows.get(number, 0) + struct.unpack(">I", payload)[0]
                if self._windows[0] > 0 and self._windows[stream] > 0:
                    return True
            if kind == frames.GOAWAY or (number == stream and kind in (frames.HEADERS, frames.RST_STREAM)):
                return False
        return False

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while True:
            while len(self._unread) >= frames.FRAME_HEADER_BYTES:
                word, flags, number = frames.frame_header.unpack_from(self._unread)
                end = frames.FRAME_HEADER_BYTES + (word >> 8)
                if len(self._unread) < end:
                    break
                payload, self._unread = self._unread[frames.FRAME_HEADER_BYTES : end], self._unread[end:]
                yield word & 0xFF, flags, number, payload
            try:
                more = self._socket.recv(65_536)
            except ConnectionResetError:
                return
            if not more:
                return
            self._unread += more


@contextmanager
def raw_connection(address: str, timeout_s: float = 30, pair: Pair | None = None) -> Iterator[RawConnection]:
    """Over TLS, without a look at the server's certificate; `pair` is the caller's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if pair is not None:
        context.load_cert_chain(*pair)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_s) as plain, context.wrap_socket(plain) as secured:
        yield RawConnection(address, secured)
