"""What docs/clients.md and README.md tell users to type is run, and answers as they say."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bench.processes import ROOT, Server, covey_server
from tests.clients import docs_runner
from tests.conftest import echo_model

import covey
from covey_server.calls import status

LABELS = ("cat", "dog", "fox", "owl", "bat", "elk", "hen", "ant", "bee", "cod")
CLIENTS = ROOT / "docs" / "clients.md"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    model = folder / "models" / "animals" / "1" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(echo_model((8, 8, 1), LABELS).SerializeToString())
    (folder / "photos").mkdir()
    (folder / "docs").mkdir()
    for name, label in (
        ("cat.jpg", 0),
        ("dog.jpg", 1),
        ("photos/1.png", 2),
        ("photos/2.png", 0),
        ("docs/digit.png", 7),
    ):
        pixels = np.zeros((8, 8), np.uint8)
        pixels.flat[label] = 250
        PIL.Image.fromarray(pixels).save(folder / name, "PNG")  # read by content, whatever the name
    return folder


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    with covey_server(place / "models", "native", place / "server.log") as server:
        yield server


@pytest.fixture(scope="module")
def target(server: Server) -> str:
    return server.target


@pytest.mark.parametrize(
    ("file", "checked"), [("docs/clients.md", True), ("README.md", False), ("docs/overview.md", False)]
)
def test_the_blocks_of_python_run_and_print_what_they_say(
    place: Path, server: Server, file: str, checked: bool
) -> None:
    targets = [server.target, server.http_target]
    command = [sys.executable, "-W", "error", docs_runner.__file__, str(ROOT / file), *targets]
    run = subprocess.run(
        [*command, *([] if checked else ["--unchecked"])], cwd=place, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[-1] == "blocks"
    assert int(run.stdout.split()[-2]) == (ROOT / file).read_text().count("```python")


@pytest.mark.parametrize(
    "command", [line for line in CLIENTS.read_text().splitlines() if re.match(r"covey (?!completion)[a-z]+ ", line)]
)
def test_the_commands_run(place: Path, target: str, command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    run = subprocess.run(
        [sys.executable, "-m", "covey", *words, "--target", target],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert words[0] == "wait" or re.search("cat|animals", run.stdout)


def test_the_comparison_finds_differences() -> None:
    docs_runner.check("here", ["[1] / ca...t?"], ["[1]", "cart?"])
    for printed in (["[1]"], ["[1]", "cart!"], ["1", "cart?"], ["[1]", "cart?", "more"]):
        with pytest.raises(AssertionError, match="here: the comments say"):
            docs_runner.check("here", ["[1] / ca...t?"], printed)


def test_the_page_names_exactly_what_a_star_import_gives() -> None:
    section = CLIENTS.read_text().partition("## All names")[2].partition("\n## ")[0]
    names = set(re.findall(r"`(\w+)`", section)) - {"covey"}
    given: dict[str, object] = {}
    exec("from covey import *", given)
    assert names == given.keys() - {"__builtins__"} == set(covey.__all__)


def test_the_page_for_other_languages_has_every_status_of_the_server() -> None:
    told = re.findall(r"^\| `([A-Z_]+)` \|", (ROOT / "docs" / "other-languages.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(set(status.NAMES.values()) - {"OK"})
