"""What the loops need of a connection, whatever protocol it speaks, and how one call ended."""

from __future__ import annotations

import socket
import ssl
import time
from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

RECEIVE_BYTES = 1 << 16  # below what malloc would map and unmap at every call

RequestT = TypeVar("RequestT")

_NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_LOST = (ConnectionError, ssl.SSLError)


class ProtocolError(Exception):
    """The server said something that a connection cannot go on from."""


class Outcome(NamedTuple):
    """One ended call. Moments are of time.perf_counter_ns.

    `number` is that of its request. `status` is a gRPC code, or an HTTP status other than 200; NO_STATUS where none
    came. `answer` is empty unless answers are kept: the gRPC message with its prefix, or the HTTP body.
    """

    number: int
    due_ns: int
    sent_ns: int
    ended_ns: int
    status: int
    answer: bytes


class Connection(ABC, Generic[RequestT]):
    """Calls on one connection. Only connecting may block."""

    max_concurrent_calls: int  # how many the protocol or the server allows at once

    def __init__(self, connected: socket.socket, *, answers: bool) -> None:
        """`answers` keeps what successful calls are answered with."""
        self.socket = connected
        self._tls = connected if isinstance(connected, ssl.SSLSocket) else None
        self.retiring = False  # opens no more calls, for ever
        self._keep_answers = answers
        self._incoming = b""
        self._outgoing: list[bytes] = []
        self._unsent = memoryview(b"")  # what the socket did not take of the last flush; goes before `_outgoing`
        self._outcomes: list[Outcome] = []

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """The number of calls without an outcome."""

    @property
    @abstractmethod
    def can_open(self) -> bool:
        """Whether `open_call` is allowed now."""

    @property
    def has_outgoing(self) -> bool:
        """Whether `flush` left something that the socket did not take."""
        return bool(self._unsent or self._outgoing)

    @abstractmethod
    def open_call(self, request: RequestT, due_ns: int | None = None) -> None:
        """Queues a call that was meant to be sent at `due_ns` (of time.perf_counter_ns), or now."""

    def flush(self) -> None:
        """Sends what is queued, as far as the socket takes it."""
        if not self._unsent:
            if not self._outgoing:
                return
            self._unsent = memoryview(b"".join(self._outgoing))
            self._outgoing.clear()
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except _NOT_READY:
            pass
        except _LOST:  # the next read says so too, and ends the calls
            self._drop_outgoing()

    def receive(self) -> list[Outcome]:
        """Reads what has come; the calls that ended by it. A lost connection retires, and ends all its calls with
        NO_STATUS."""
        self._outcomes = []
        try:
            data = self.socket.recv(RECEIVE_BYTES)
            while self._tls is not None and (pending := self._tls.pending()):
                data += self._tls.recv(pending)  # decrypted, so that readiness of the socket does not tell of it
        except _NOT_READY:
            return self._outcomes
        except _LOST:
            data = b""
        if data:
            self._read(data, time.perf_counter_ns())
        else:
            self.retiring = True
            self._drop_outgoing()
            self._lose_calls()
        return self._outcomes

    @abstractmethod
    def cancel_older(self, than_ns: int) -> list[Outcome]:
        """Gives up the calls that were due before `than_ns`; they end with DEADLINE_EXCEEDED."""

    def close(self) -> None:
        """Calls still in flight are forgotten."""
        self.socket.close()

    @abstractmethod
    def _read(self, data: bytes, now_ns: int) -> None:
        """Adds the calls that ended by it to `_outcomes`."""

    @abstractmethod
    def _lose_calls(self) -> None:
        """Ends all calls with NO_STATUS."""

    def _drop_outgoing(self) -> None:
        self._unsent = memoryview(b"")
        self._outgoing.clear()
