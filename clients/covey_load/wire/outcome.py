"""How one call ended, whatever it was sent over."""

from __future__ import annotations

from typing import NamedTuple


class ProtocolError(Exception):
    """The server said something that a connection cannot go on from."""


class Outcome(NamedTuple):
    """One ended call. Moments are of time.perf_counter_ns.

    `number` is that of its request. `status` is a gRPC code, or an HTTP status other than 200; NO_STATUS where none
    came or none was asked for. `answer` is empty unless answers are kept: the gRPC message with its prefix, or the
    body.
    """

    number: int
    due_ns: int
    sent_ns: int
    ended_ns: int
    status: int
    answer: bytes
