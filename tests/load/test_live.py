"""The live display, on a terminal and elsewhere."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from covey_load.live import Live
from covey_load.measurement import Snapshot

from . import examples

BEGUN = Snapshot(examples.load(), True, 0.5, 1.0, 100, 0, 200.0, 1.5, None)
MEASURING = replace(BEGUN, warming_up=False, elapsed_s=0.5, planned_s=10.0, calls=5_123, errors=7, p99_ms=4.25)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def test_lines_where_nobody_looks() -> None:
    """What begins, then figures every five seconds."""
    log = io.StringIO()

    with Live(log) as live:
        for elapsed_s in (0.5, 1.0):
            live.show(replace(BEGUN, elapsed_s=elapsed_s))
        for half_seconds in range(1, 21):
            live.show(replace(MEASURING, elapsed_s=half_seconds / 2))
        live.show(replace(MEASURING, load=examples.load(64), planned_s=None, elapsed_s=6.0))

    assert log.getvalue().splitlines() == [
        "concurrency 8, warming up for 1.00 s",
        "concurrency 8 for 10.0 s",
        "concurrency 8, 5 of 10 s: calls/s 200, p50 ms 1.50, p99 ms 4.25, calls 5,123, errors 7",
        "concurrency 8, 10 of 10 s: calls/s 200, p50 ms 1.50, p99 ms 4.25, calls 5,123, errors 7",
        "concurrency 64",
        "concurrency 64, 6 s: calls/s 200, p50 ms 1.50, p99 ms 4.25, calls 5,123, errors 7",
    ]


def test_terminal_shows_a_table_and_is_left_clean(terminal: Terminal) -> None:
    with Live(terminal) as live:
        live.show(BEGUN)
        live.show(MEASURING)
    output = terminal.getvalue()

    assert "concurrency 8, warming up" in output
    for figure in ("p99 ms", "4.25", "5,123", "errors"):
        assert figure in output
    assert_clean(terminal)


def test_terminal_is_left_clean_by_an_error(terminal: Terminal) -> None:
    live = Live(terminal)
    with pytest.raises(KeyboardInterrupt), live:
        _interrupt(live)
    assert_clean(terminal)


def _interrupt(live: Live) -> None:
    live.show(MEASURING)
    raise KeyboardInterrupt


def assert_clean(terminal: Terminal) -> None:
    """After the last painting its lines are wiped, from the last to the first, and the cursor is back."""
    last = terminal.getvalue().rpartition("concurrency")[2]
    lines = last.count("\n")
    assert lines > 3
    assert last.endswith("\x1b[1A\x1b[2K" * lines)
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1


def test_count_without_a_duration_has_no_bar(terminal: Terminal) -> None:
    with Live(terminal) as live:
        live.show(replace(MEASURING, planned_s=None))

    assert "\u2501" not in terminal.getvalue()
