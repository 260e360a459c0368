"""How a line of the log looks: as text for people, or as one JSON object for programs.

Every line has `time`, `level`, `logger` and `message`; further members are those of its kind, as docs/logs.md lists
them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping

from covey_server.config import LogFormat

MEMBERS = "members"  # the name by which `extra` brings further members of a line


class TextLines(logging.Formatter):
    """Lines for people: time, level, message. `process` is the number of one of several processes."""

    def __init__(self, process: int | None = None) -> None:
        before = "" if process is None else f"process {process}: "
        super().__init__(f"%(asctime)s %(levelname)s {before}%(message)s")


class JsonLines(logging.Formatter):
    """Lines for programs. Times are UTC, to the microsecond."""

    def __init__(self, process: int | None = None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        """The line of one record; an exception's traceback is the member `exception`."""
        line: dict[str, object] = {
            "time": utc(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._process,
        }
        members = getattr(record, MEMBERS, None)
        if isinstance(members, Mapping):
            line |= members
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))


def utc(seconds: float) -> str:
    """A time since the epoch as RFC 3339 has it, to the microsecond."""
    whole, microseconds = divmod(round(seconds * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{microseconds:06d}Z"


def log_to_standard_error(level: str, form: LogFormat, process: int | None = None) -> None:
    """Sends the log of this process to standard error, from `level` on ("info"). To be called before grpc is imported:
    its core writes lines of its own form, which are left out of a log for programs."""
    if form == "json":
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else TextLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
