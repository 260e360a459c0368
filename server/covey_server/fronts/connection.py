"""What the connection guard knows of one connection, and its limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """`max_bytes` is for calls, answers and half-sent messages together; `min_unfinished_bytes` of half-sent ones are
    always allowed, so that the largest message fits. `idle_s` 0: connections may be silent for ever."""

    max_connections: int
    max_bytes: int
    min_unfinished_bytes: int
    look_bytes: int  # of unwritten answers; with more, the guard looks at once
    idle_s: float = 0.0


class Connection:
    """One connection. Bytes are counted from its beginning, except `unfinished`, `recent` and `unread`."""

    __slots__ = (
        "active_s",
        "handed",
        "is_closing",
        "is_used",
        "number",
        "opened_s",
        "peer",
        "progress_s",
        "received",
        "recent",
        "unfinished",
        "unread",
        "written",
    )

    def __init__(self, number: int, now_s: float) -> None:
        self.number = number
        self.opened_s = self.active_s = self.progress_s = now_s
        self.peer = ""  # the front's name for it, once known
        self.is_used = self.is_closing = False
        self.received = self.written = self.handed = 0
        self.unfinished = 0  # bytes received that belong to no call yet
        self.recent = 0.0  # the same, at the last few looks
        self.unread = 0  # bytes of answers that are not written
