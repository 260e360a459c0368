"""`covey label --terminal`, by lines from a pipe and in a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clients.labelling.captured import places, write


def label(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covey", "label", str(folder), "--terminal"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "lenet")


def test_keys_names_and_beginnings_are_classes_and_enter_says_that_it_is_right(folder: Path) -> None:
    done = label(folder, "3\n\nbi\nu\nd\ncat\n")
    assert done.returncode == 0, done.stderr
    assert places(folder) == {0: "dog", 1: "dog", 2: ".discarded", 3: "cat"}
    assert "1 of 4: " in done.stdout
    assert "predicted: cat, 21.0% sure; kept because the model was not sure" in done.stdout
    assert "All 4 images are labelled." in done.stdout
    assert f"covey train NETWORK --dataset capture:{folder}" in done.stdout


def test_wrong_input_is_asked_again_and_the_end_of_it_loses_nothing(folder: Path) -> None:
    done = label(folder, "u\nfish\n?\n  2  \n")
    assert done.returncode == 0, done.stderr
    assert "class? \n1 image labelled" in done.stdout
    for text in (
        "There is nothing to take back.",
        "No class is called 'fish'",
        "  1  bird/bat\n",
        "1 image labelled, 3 wait",
    ):
        assert text in done.stdout
    assert places(folder)[0] == "cat"
    assert label(folder, "q\n").stdout.count("class? ") == 1
    wrong = label(folder / "none", "")
    assert wrong.returncode == 2
    assert "is no folder" in wrong.stderr


def test_a_terminal_shows_the_image(folder: Path) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "covey", "label", str(folder), "--terminal"]
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=environment) as process:
        os.close(child)
        shown = read_until(parent, b"class? ")
        os.write(parent, b"dog\n")
        shown += read_until(parent, b"class? ")
        os.write(parent, b"q\n")
        assert process.wait(60) == 0
    os.close(parent)
    assert shown.count("▀".encode()) == 2 * 4 * 2  # two images of 4 x 4 pixels, two of which are one character
    assert b"38;2;1;1;1" in shown  # the grey of the second one
    assert places(folder)[0] == "dog"


def read_until(file: int, end: bytes) -> bytes:
    found = b""
    while not found.endswith(end):
        found += os.read(file, 4096)
    return found
