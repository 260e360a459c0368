"""The messages between a generator process and the process that started it: orders in one direction, chunks of results
in the other.

They are pickled, behind their length. The generator never waits for its reader: it keeps what the pipe does not take.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from covey_load.plan import Arrival
from covey_load.wire.frames import Request
from covey_load.wire.http1 import HttpRequest
from covey_load.wire.sockets import Endpoint

FIELDS = 6  # of a record, 64 bits each: due, sent, ended (ns), status, number of the request, bytes of the answer
_PIPE_BYTES = 1 << 20
_length = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Order:
    """One load for one generator process: a closed loop of `in_flight` calls, or an open one of `rates_per_s`.

    Sends `requests` in turn, or in the order of `sequence`, over and over; with `apart` the connection at each place
    sends just the request at its place, and waits for no other. `seconds` follow the `warm_up_s`; at most `calls` are
    sent. `timeout_s` is when a call without an answer is given up. `rates_per_s` are the same twice unless `arrival` is
    a ramp; `part` of `parts` is this process's among those that share them. `round_us` is OpenLoop's.
    """

    endpoint: Endpoint
    requests: Sequence[Request] | Sequence[HttpRequest]
    sequence: Sequence[int] = ()
    apart: bool = False
    connections: int = 1
    timeout_s: float = 10.0
    warm_up_s: float = 0.0
    seconds: float = math.inf
    calls: int | None = None
    keep_answers: bool = False
    in_flight: int = 1
    rates_per_s: tuple[float, float] | None = None
    arrival: Arrival = Arrival.POISSON
    seed: int = 0
    part: int = 0
    parts: int = 1
    round_us: int = 0


@dataclass(frozen=True, slots=True)
class Connected:
    """All connections are open; the process waits for the moment to begin."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Calls that ended since the last chunk, and the process's CPU time so far, at `at_ns`."""

    records: bytes
    answers: bytes  # of the records, one after the other
    cpu_ns: int
    at_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is done. `failure` says why it ended early; `was_full`: a call had to wait since no connection could
    take it; `unsent` calls were due and not sent when the load ended; `standstill_s` is the longest time in which the
    process did not get to run, `waited_s` all the time in which it could have run and others had the processors (0
    where the kernel does not tell); `real_time`: it had real-time priority."""

    failure: str = ""
    was_full: bool = False
    unsent: int = 0
    standstill_s: float = 0.0
    waited_s: float = 0.0
    real_time: bool = False


Message = Connected | Chunk | Ended


class Writer:
    """The end of the pipe in the generator process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting = bytearray()
        os.set_blocking(descriptor, False)
        with contextlib.suppress(AttributeError, OSError):  # Linux only, and limited for users
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def write(self, message: Message) -> None:
        """Sends as much as the pipe takes now."""
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._waiting += _length.pack(len(data)) + data
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                del self._waiting[: os.write(self._descriptor, self._waiting)]

    def drain(self) -> None:
        """Waits until all is sent."""
        os.set_blocking(self._descriptor, True)
        while self._waiting:
            del self._waiting[: os.write(self._descriptor, self._waiting)]
        os.set_blocking(self._descriptor, False)


class Reader:
    """The end of the pipe in the starting process: turns bytes into messages."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.descriptor = pipe.fileno()
        self._incoming = bytearray()

    def read(self) -> Iterator[Message]:
        """The messages that one read of the pipe completes. Raises EOFError where the process has ended."""
        data = os.read(self.descriptor, _PIPE_BYTES)
        if not data:
            raise EOFError
        self._incoming += data
        while len(self._incoming) >= _length.size:
            end = _length.size + _length.unpack_from(self._incoming)[0]
            if len(self._incoming) < end:
                return
            message: Message = pickle.loads(bytes(self._incoming[_length.size : end]))
            del self._incoming[:end]
            yield message
