"""Owns one HTTP/1.1 connection that says whatever an attack wants, byte for byte."""

from __future__ import annotations

import socket
import time

from bench.raw_http2 import Place

_READ_BYTES = 1 << 20


class Conversation:
    """One connection: bytes out, answers' first lines in. Whatever ends it is kept in `ended`, in words."""

    def __init__(self, place: Place, *, receive_bytes: int = 0) -> None:
        """`receive_bytes`: the room for what is not read yet; 0: as the system has it."""
        self.ended = ""
        self.answers = b""
        self.sent_bytes = 0
        self._socket = socket.socket()
        if receive_bytes:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(5.0)
        try:
            self._socket.connect((place.host, place.port))
        except OSError as error:
            self.ended = f"refused ({error.__class__.__name__})"

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, give_up_s: float = 5.0) -> bool:
        """Sends data; whether all of it was taken in time."""
        if self.ended:
            return False
        unsent, give_up = memoryview(data), time.monotonic() + give_up_s
        try:
            while unsent:
                left_s = give_up - time.monotonic()
                if left_s <= 0:
                    return False
                self._socket.settimeout(left_s)
                sent = self._socket.send(unsent)
                self.sent_bytes += sent
                unsent = unsent[sent:]
        except TimeoutError:
            return False
        except OSError:
            self.read(0.2)  # the answer may have come before the end
            self.ended = self.ended or "closed"
            return False
        return True

    def read(self, seconds: float, count: int = 0) -> None:
        """Reads until the server closes, `count` answers are there (0: any number), or the time is over."""
        give_up = time.monotonic() + seconds
        while not (count and len(self.statuses) >= count) and (left_s := give_up - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(_READ_BYTES)
            except TimeoutError:
                return
            except OSError:
                data = b""
            if not data:
                self.ended = self.ended or "closed"
                return
            self.answers += data

    @property
    def statuses(self) -> list[str]:
        """The statuses of all answers that have begun."""
        return [part[:3].decode("latin-1") for part in self.answers.split(b"HTTP/1.1 ")[1:]]

    @property
    def got(self) -> str:
        """The outcome in words."""
        return ", ".join([*self.statuses, *([self.ended] if self.ended else [])]) or "no answer"
