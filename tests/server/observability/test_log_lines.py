"""The log's lines, and that whoever logs never waits for those who read them."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from covey_server.observability import log_lines
from covey_server.observability.log_lines import MEMBERS, JsonLines, LinesToWriter, TextLines, utc


def record(text: str, *args: object, **members: object) -> logging.LogRecord:
    found = logging.LogRecord("covey_server.test", logging.WARNING, "", 0, text, args, None)
    found.created = 1_700_000_000.25
    if members:
        setattr(found, MEMBERS, members)
    return found


def test_json() -> None:
    line = JsonLines(3).format(record("two\nlines of %s", "é", status="OK", images=2))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "warning",
        "logger": "covey_server.test",
        "message": "two\nlines of é",
        "process": 3,
        "status": "OK",
        "images": 2,
    }


def test_json_has_the_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        found = record("it failed")
        found.exc_info = sys.exc_info()
    assert "ValueError: broken" in json.loads(JsonLines().format(found))["exception"]


def test_text_names_the_process() -> None:
    assert TextLines(2).format(record("ready")).endswith(" WARNING process 2: ready")
    assert TextLines().format(record("ready")).endswith(" WARNING ready")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "1970-01-01T00:00:00.000000Z"), (1.9999999, "1970-01-01T00:00:02.000000Z")],
)
def test_times(seconds: float, expected: str) -> None:
    assert utc(seconds) == expected


@pytest.fixture
def unread() -> Iterator[Any]:
    """A pipe that nobody reads until the test does."""
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as stream, open(reading, encoding="utf-8") as reader:  # noqa: PTH123
        yield stream, reader


def test_who_logs_does_not_wait_for_who_reads(unread: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, reader = unread
    monkeypatch.setattr(log_lines, "MAX_WAITING_LINES", 50)
    monkeypatch.setattr(log_lines, "_FLUSH_S", 0.01)
    handler = LinesToWriter(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    count = 4000
    for number in range(count):  # far more than a pipe holds: 64 KB
        handler.handle(record("%s", f"{number} " + "x" * 100))
    handler.flush()  # returns, though most is not written

    found: list[str] = []

    def read() -> None:
        found.extend(reader)

    reading = threading.Thread(target=read)
    reading.start()
    monkeypatch.setattr(log_lines, "_FLUSH_S", 30.0)
    handler.flush()
    stream.close()
    reading.join(30)
    told = [line for line in found if "lines of the log were dropped" in line]
    lost = sum(int(line.split()[1]) for line in told)
    assert lost > 0
    assert len(found) - len(told) == count - lost
    numbers = [int(line.split()[0]) for line in found if line not in told]
    assert numbers == sorted(numbers)


def test_a_stream_that_cannot_be_written_fails_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    handler = LinesToWriter(stream)
    handler.handle(record("lost"))
    handler.flush()


def test_all_lines_are_written_when_the_process_ends() -> None:
    script = (
        "import logging; from covey_server.observability.log_lines import log_to_standard_error as begin; "
        "begin('info', 'text'); [logging.info('line %d', number) for number in range(1000)]"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert [line.rsplit(" ", 1)[1] for line in done.stderr.splitlines()] == [str(number) for number in range(1000)]


def test_why_a_server_does_not_start_comes_after_its_log() -> None:
    script = (
        "import logging; from covey_server import errors, serving; "
        "from covey_server.observability.log_lines import log_to_standard_error as begin\n"
        "def fail():\n"
        "    for number in range(2000): logging.info('line %d', number)\n"
        "    raise errors.NoModels('why')\n"
        "begin('info', 'text'); raise SystemExit(serving.explained(fail))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[-1], len(lines)) == (3, "covey-server: why", 2001)
