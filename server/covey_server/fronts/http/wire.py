"""The bytes of one connection: its socket, TLS where it has that, and what the network has not taken yet."""

from __future__ import annotations

import contextlib
import socket
import ssl

from covey_server.calls.call import Buffer
from covey_server.fronts.http import limits
from covey_server.fronts.http.tls import TlsLayer


class Wire:
    """For one thread at a time, but for `receive` and `fileno`."""

    __slots__ = ("_dropped_bytes", "_is_ended", "_socket", "_tls", "is_closed", "principal", "rest")

    def __init__(self, connected: socket.socket, tls: TlsLayer | None) -> None:
        self.is_closed = False  # or broken
        self.rest: memoryview | None = None  # of what is being written
        self.principal = ""  # by the caller's certificate
        self._is_ended = False
        self._dropped_bytes = 0
        self._socket = connected
        self._tls = tls

    @property
    def is_encrypted(self) -> bool:
        return self._tls is not None

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self, read_bytes: int) -> bytes | None:
        """At most so much of what has come; None if nothing has, empty if the caller is gone. After `end` what comes is
        dropped, and who sends more than MAX_LINGER_BYTES is taken for gone."""
        try:
            data = self._socket.recv(read_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""
        if self._is_ended and data:
            self._dropped_bytes += len(data)
            return b"" if self._dropped_bytes > limits.MAX_LINGER_BYTES else None
        return data

    def decrypt(self, data: bytes) -> bytes:
        """What the caller says in bytes that have come."""
        tls = self._tls
        assert tls is not None
        was_established = tls.is_established
        try:
            data = tls.receive(data)
        except ssl.SSLError:
            data, self.is_closed = b"", True
        if self.rest is not None:  # replies go with what is written next
            self.is_closed = self.is_closed or tls.outgoing_bytes > limits.MAX_HEAD_BYTES
        elif reply := tls.outgoing():  # of a handshake
            self._push(memoryview(reply))
        if not was_established and tls.is_established and (subject := tls.subject):
            self.principal = f"certificate:{subject}"
        return data

    def write(self, data: bytes, body: Buffer = b"") -> None:
        """Sends data and what follows it, encrypted where the connection is. What the network does not take at once
        becomes `rest`; of a `body` that is a view without a copy."""
        if self._tls is not None:
            try:
                self._tls.send(data)
                if body:
                    self._tls.send(body)
            except ssl.SSLError:
                self.is_closed = True
                return
            data, body = self._tls.outgoing(), b""
        if body:
            self._push_both(data, memoryview(body))
        else:
            self._push(data)

    def write_more(self) -> tuple[int, bool]:
        """Sends more of `rest`: how many bytes of it the network took, and whether that was all."""
        rest = self.rest
        assert rest is not None
        self._push(rest)
        return len(rest) - len(self.rest or b""), self.rest is None

    def end(self) -> None:
        """Closes this side only."""
        self._is_ended = True
        with contextlib.suppress(OSError):
            if self._tls is not None and self._tls.is_established:
                self._tls.close()
                self._socket.send(self._tls.outgoing())
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes both sides at once; `rest` is lost."""
        self.rest = None
        self.is_closed = True
        self._socket.close()

    def _push(self, data: bytes | memoryview) -> None:
        sent = self._sent(data)
        self.rest = None if sent == len(data) else memoryview(data)[sent:]

    def _push_both(self, data: bytes, body: memoryview) -> None:
        sent = self._sent(data, body)
        if sent < len(data):  # hardly ever
            self.rest = memoryview(b"".join((data[sent:], body)))
        else:
            sent -= len(data)
            self.rest = body[sent:] if sent < len(body) else None

    def _sent(self, *parts: Buffer) -> int:
        """How many bytes the network takes now; all of them if the caller is gone."""
        try:
            return self._socket.send(parts[0]) if len(parts) == 1 else self._socket.sendmsg(parts)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.is_closed = True
            return sum(map(len, parts))
