"""How a line of the log looks: as text for people, or as one JSON object for programs.

Every line has `time`, `level`, `logger` and `message`; docs/logs-and-traces.md lists the further members of each kind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TextIO

from covey_server.config import LogFormat

MAX_WAITING_LINES = 10_000
_FLUSH_S = 2.0
MEMBERS = "members"  # the name by which `extra` brings further members of a line


class LinesToWriter(logging.Handler):
    """Writes lines on a thread of its own. Where nobody reads them, a write blocks for good: then lines are dropped
    and counted, and whoever logs goes on."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._changed = threading.Condition()
        self._is_writing = False
        self._has_begun = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as logging.Handler does with it
            self.handleError(record)
            return
        with self._changed:
            if not self._has_begun:  # not before: what `serving.prepare` sets has to come before threads
                try:
                    threading.Thread(target=self._run, name="log", daemon=True).start()
                except RuntimeError:  # no thread is left: the server will say so, and this line is not worth less
                    self._write_lines((line,))
                    return
                self._has_begun = True
            if len(self._lines) < MAX_WAITING_LINES:
                self._lines.append(line)
            else:
                self._dropped += 1
            self._changed.notify_all()

    def flush(self) -> None:
        """Waits until all lines are written, for seconds at the most. Called at the end of the process, too."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines and not self._is_writing, _FLUSH_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                lines, self._lines = self._lines, deque()
                if self._dropped:
                    lines.append(
                        f"covey-server: {self._dropped} lines of the log were dropped: nobody took them in time"
                    )
                    self._dropped = 0
                self._is_writing = True
            self._write_lines(lines)

    def _write_lines(self, lines: Iterable[str]) -> None:
        """Not by the stream itself, whose lock a blocked write would hold when the interpreter ends: it would abort."""
        data = "\n".join((*lines, "")).encode(errors="backslashreplace")
        with contextlib.suppress(OSError, ValueError):  # a disk that is full, or a stream that is closed
            number = self._stream.fileno()
            while data:
                data = data[os.write(number, data) :]


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


def flush() -> None:
    """Waits until what was logged is written, so that what is printed to standard error comes after it."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def log_to_standard_error(level: str, form: LogFormat, process: int | None = None) -> None:
    """Sends the log of this process to standard error, from `level` on ("info"). To be called before grpc is imported:
    its core writes lines of its own form, which are left out of a log for programs."""
    if form == "json":
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    handler = LinesToWriter(sys.stderr)
    handler.setFormatter(JsonLines(process) if form == "json" else TextLines(process))
    logging.basicConfig(level=level.upper(), handlers=[handler])
