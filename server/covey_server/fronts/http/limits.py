"""How much and how long HTTP callers may take."""

from __future__ import annotations

from dataclasses import dataclass

MAX_HEAD_BYTES = 64 << 10  # of a request's line and headers; a token with many groups has 20 KB
MAX_HEADERS = 100
HEAD_S = 10.0  # for a request's line and headers, and for the first one since the connection was opened
NEW_S = 0.1  # at the server's end, for the first request of a connection that was just opened
BODY_S = 20.0  # for a body, and a second more for each SLOWEST_BYTES_S of it
UNREAD_S = 60.0  # for a caller to take its answer, and a second more for each SLOWEST_BYTES_S of it
SLOWEST_BYTES_S = 4096
LINGER_S = 2.0  # for the caller to close its side, so that it has read the last answer
MAX_LINGER_BYTES = 128 << 20  # dropped meanwhile: many clients read no answer before they have sent all
MAX_SENT_AHEAD = 32  # requests behind one that is not answered
CHUNK_BYTES = 32  # of a chunk, beside its content: its size, and what little else is usual
READ_BYTES = 64 << 10  # from one connection at a time, so that none keeps the others waiting
TINY_CHUNK_BYTES = 64  # on average: of bodies in such chunks, each of which takes as long as a large one,
TINY_READ_BYTES = 2 << 10  # less is read at a time


@dataclass(frozen=True)
class HttpLimits:
    """`max_unfinished_bytes`: of bodies that are not whole yet, all of them together; beyond, the connection with the
    largest is refused. `idle_s` 0: a connection may be silent until its place is needed."""

    max_body_bytes: int
    max_unfinished_bytes: int
    max_connections: int
    idle_s: float = 0.0
