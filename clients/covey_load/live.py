"""Shows the progress of a running load test: a small table on a terminal, otherwise a line now and then."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from covey_load.measurement import Load, Snapshot
from covey_load.reports import words
from covey_load.reports.words import number

_LINE_EVERY_S = 5.0
_BAR_COLUMNS = 40


class Live:
    """Shows snapshots on `stream` while it is entered, and clears a terminal afterwards.

    Elsewhere, as in a log or in CI, it says what begins, and then writes a line every five seconds.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._part: tuple[Load, bool] | None = None
        self._next_s = 0.0
        self._panel: RichLive | None = None
        console = Console(file=stream)
        if console.is_terminal:
            self._panel = RichLive(
                console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )

    def __enter__(self) -> Self:
        if self._panel is not None:
            self._panel.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._panel is not None:
            self._panel.stop()

    def show(self, snapshot: Snapshot) -> None:
        if self._panel is not None:
            self._panel.update(_table(snapshot), refresh=True)
            return
        part = (snapshot.load, snapshot.warming_up)
        if part != self._part:
            self._part, self._next_s = part, _LINE_EVERY_S
            planned = f" for {number(snapshot.planned_s)} s" if snapshot.planned_s is not None else ""
            print(f"{_title(snapshot)}{planned}", file=self._stream, flush=True)
        if snapshot.elapsed_s >= self._next_s:
            self._next_s += _LINE_EVERY_S
            print(line(snapshot), file=self._stream, flush=True)


def line(snapshot: Snapshot) -> str:
    """The snapshot as one line."""
    figures = ", ".join(f"{name} {text}" for name, text in _figures(snapshot))
    return f"{_title(snapshot)}, {_elapsed(snapshot)}: {figures}"


def _table(snapshot: Snapshot) -> Table:
    table = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=snapshot.planned_s, completed=snapshot.elapsed_s, width=_BAR_COLUMNS)
    table.add_row(Text(_title(snapshot)), bar if snapshot.planned_s else "", _elapsed(snapshot))
    for name, text in _figures(snapshot):
        table.add_row(name, Text(text))
    return table


def _title(snapshot: Snapshot) -> str:
    return words.load_name(snapshot.load) + (", warming up" if snapshot.warming_up else "")


def _elapsed(snapshot: Snapshot) -> str:
    planned = f" of {snapshot.planned_s:.0f}" if snapshot.planned_s is not None else ""
    return f"{snapshot.elapsed_s:.0f}{planned} s"


def _figures(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [
        ("calls/s", number(snapshot.recent_per_s)),
        ("p50 ms", number(snapshot.p50_ms)),
        ("p99 ms", number(snapshot.p99_ms)),
        ("calls", f"{snapshot.calls:,}"),
        ("errors", f"{snapshot.errors:,}"),
    ]
