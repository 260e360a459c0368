"""A standard output that cannot be written: an exit code and a sentence."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from covey_export.__main__ import main
from covey_export.reports.progress import ProgressReport


@pytest.mark.parametrize(("unbuffered", "argument"), [("", "list"), ("1", "--help")])
def test_an_output_that_cannot_be_written_is_told(unbuffered: str, argument: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "covey_export", argument],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered}, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    what = b"the output" if argument.startswith("--") else b"the output, or a file,"
    expected = (2, b"covey-export: " + what + b" cannot be written: No space left on device\n")
    assert (done.returncode, done.stderr) == expected


def test_an_output_that_fails_at_its_first_line_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with PYTHONUNBUFFERED."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(full, write_through=True))
        assert main(["list"]) == 2
    assert "the output, or a file, cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["data    folder:train: 1,280 images", "[red]x[/red]", "[/nope]", "a :car: [link=x]b"])
def test_labels_and_paths_are_printed_as_they_are(text: str) -> None:
    """Rich would make an emoji of `:train:`, and a colour of `[red]`."""
    file = io.StringIO()
    report = ProgressReport(Console(file=file))
    report.line(text)
    report.table(text, [text], [[text]])
    assert file.getvalue().count(text) == 4
