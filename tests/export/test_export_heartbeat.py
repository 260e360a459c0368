"""Where there is no terminal, a line comes now and then while work goes on; and words are as they should be."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from covey_export.heartbeat import Heartbeat
from covey_export.reports.progress import ProgressReport
from covey_proto.wording import listed, plural


class _Lines:
    """Keeps lines, and knows when there are enough."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.two = threading.Event()

    def write(self, text: str) -> None:
        self.lines.append(text)
        if len(self.lines) >= 2:
            self.two.set()


def test_a_line_comes_while_work_goes_on() -> None:
    said = _Lines()
    heartbeat = Heartbeat(said.write, every_s=0.01)
    with heartbeat.beating(), heartbeat.doing("outer"), heartbeat.doing("reading mnist"):
        assert said.two.wait(timeout=30)
    assert said.lines[0] == said.lines[1] == "reading mnist: 0 s so far"
    count = len(said.lines)
    assert [thread for thread in threading.enumerate() if thread.name == "covey-heartbeat"] == []
    assert len(said.lines) == count


def test_nothing_is_said_where_nothing_is_done_or_something_was_just_said() -> None:
    said = _Lines()
    idle, busy = Heartbeat(said.write, every_s=0.01), Heartbeat(said.write, every_s=3_600)
    with idle.beating(), busy.beating(), busy.doing("reading"):
        assert not said.two.wait(timeout=0.1)
    assert said.lines == []


class _File(io.StringIO):
    """Knows when a step was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if "step" in self.getvalue() and self.getvalue().endswith("\n"):
            self.told.set()
        return written


def test_a_training_whose_output_is_a_pipe_says_how_far_it_is() -> None:
    file = _File()
    report = ProgressReport(Console(file=file), every_s=0.01)
    with report.alive(), report.progress(total=9_380, done=1_000) as progress:
        progress.advance(0.5)
        file.told.clear()
        assert file.told.wait(timeout=30)
    line = file.getvalue().splitlines()[-1]
    assert line.startswith("step 1,001 of 9,380, loss 0.500, ")
    assert " steps/s, about " in line


def test_a_terminal_has_its_bar_and_no_lines() -> None:
    report = ProgressReport(Console(file=io.StringIO(), force_terminal=True), every_s=0.001)
    with report.alive():
        assert [thread for thread in threading.enumerate() if thread.name == "covey-heartbeat"] == []


def test_no_cell_of_a_table_is_broken_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    path = "/" + "/".join(["a-long-name"] * 40) + "/model.onnx"
    ProgressReport(Console(file=file)).table("Data sets", ["name", "where"], [["mnist", path]])
    assert path in file.getvalue()


def test_counts_and_lists() -> None:
    assert [plural(count, "epoch") for count in (0, 1, 2_000)] == ["0 epochs", "1 epoch", "2,000 epochs"]
    assert plural(2, "class", "classes") == "2 classes"
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(number) for number in range(1_000)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... and 990 more"
