"""One connection as its guard knows it, and the limits that the guard keeps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """`max_bytes`: of calls, answers and half-sent messages together; `min_unfinished_bytes` of the last are let be
    whatever else there is, so that the largest message fits. `idle_s` 0: for ever."""

    max_connections: int
    max_bytes: int
    min_unfinished_bytes: int
    look_bytes: int  # of answers that are not known to be written: time for a look
    idle_s: float = 0.0


class Connection:
    """What is known of one connection. Bytes are counted since it was made, but for `unfinished` and `unread`."""

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
        self.peer = ""  # what the front calls it, once that is known
        self.is_used = self.is_closing = False
        self.received = self.written = self.handed = 0
        self.unfinished = 0  # bytes that came and belong to no call that was handed over
        self.recent = 0.0  # those of the last looks
        self.unread = 0  # bytes of answers that are not written
