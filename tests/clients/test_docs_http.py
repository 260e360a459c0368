"""What docs/http.md tells users to type is run, and answers as it says."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.processes import ROOT
from tests.clients.test_docs import place

__all__ = ["place"]  # a fixture

PAGE = (ROOT / "docs" / "http.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NEEDED = ("curl", "jq", "base64")


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    (place / "notes.txt").write_text("no image")
    command = [sys.executable, "-m", "covey_server", "--models", str(place / "models"), "--log-level", "error"]
    command += ["--grpc-port", "0", "--metrics-port", "0", "--http-port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        ready = re.search(r" http=(\S+)$", server.stdout.readline().strip())
        assert ready is not None
        yield ready[1]
        server.terminate()
        assert server.wait(30) == 0


@pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"needs {', '.join(NEEDED)}")
@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_curl_gets_what_the_page_says(place: Path, address: str, number: int) -> None:
    command, expected = COMMANDS[number]
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command.replace("localhost:8000", address)],
        cwd=place, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    printed, patterns = run.stdout.splitlines(), [re.sub(r"([\[?])", r"[\1]", line) for line in expected.splitlines()]
    assert len(printed) == len(patterns), run.stdout
    assert all(map(fnmatch.fnmatchcase, printed, patterns)), (run.stdout, expected)


def test_all_commands_have_their_output() -> None:
    assert len(COMMANDS) == PAGE.count("```sh\n") == 8


def test_the_python_of_the_page_runs(place: Path, address: str) -> None:
    block = re.search(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    code = block[1].replace("localhost:8000", address)
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout) == (0, "(1, 10)\n"), run.stderr


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_javascript_of_the_page_runs(place: Path, address: str) -> None:
    block = re.search(r"^```js\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    page = 'const file = new Blob([(await import("node:fs")).readFileSync("cat.jpg")]);\n'
    code = page + block[1].partition("\n")[2].replace("localhost:8000", address)  # without the page's own first line
    command = ["node", "--no-warnings", "--input-type=module", "-e", code]
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout) == (0, "cat\n"), run.stderr


@pytest.mark.parametrize(("command", "name"), [(("php",), "page.php"), (("go", "run"), "page.go")])
def test_the_php_and_the_go_of_the_page_run(
    place: Path, address: str, tmp_path: Path, command: tuple[str, ...], name: str
) -> None:
    """Both ran on 2026-11-29, with PHP 8.2.36 and Go 1.27.3; where one is not installed, it is skipped."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    block = re.search(rf"^```{command[0]}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    for model, exit_code, printed in (("animals", 0, "cat\n"), ("plants", 1, "model 'plants' is not served here")):
        program = tmp_path / name
        program.write_text(block[1].replace("localhost:8000", address).replace("/animals/", f"/{model}/"))
        run = subprocess.run(
            [*command, str(program)], cwd=place, capture_output=True, text=True, check=False, timeout=120
        )
        assert bool(run.returncode) == bool(exit_code), run.stderr
        assert printed in run.stdout + run.stderr
