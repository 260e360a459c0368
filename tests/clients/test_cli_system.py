"""The `covey` command and the system around it: pipes that end, signals, names and letters that are not to be had."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from covey.cli import main

if TYPE_CHECKING:
    from .conftest import ScriptedServer


@pytest.fixture
def transport() -> str:
    return "grpc"  # this is about gRPC's core, and what prints


@pytest.fixture(autouse=True)
def _target(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COVEY_TARGET", server.target)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with one image."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").write_text("cat")
    return tmp_path


def test_a_reader_that_has_seen_enough_is_no_error(files: Path) -> None:
    """As with `covey models | head -1`: the pipe's other end is closed before anything is written."""
    program = [sys.executable, "-m", "covey", "classify", "--json", *["cat.jpg"] * 500]
    process = subprocess.Popen(program, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["models", "--json"], ""),
        (["classify", "cat.jpg"], ""),
        (["classify", "cat.jpg"], "1"),
        (["info"], "1"),
        (["--help"], ""),
        (["load", "--help"], "1"),
    ],
)
@pytest.mark.usefixtures("files")
def test_an_output_that_cannot_be_written_is_told(arguments: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "covey", *arguments],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered}, stdout=full, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, b"covey: the output cannot be written: No space left on device\n")


@pytest.mark.parametrize("tls", [[], ["--tls"]], ids=["plaintext", "TLS"])
@pytest.mark.parametrize("listens", [True, False])
def test_what_the_core_of_grpc_says_stays_out(server: ScriptedServer, tls: list[str], listens: bool) -> None:
    if not listens:
        server.stop()
    command = [sys.executable, "-m", "covey", "models", *tls, "--deadline-ms", "3000"]
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == (0 if listens and not tls else 3)
    assert [line for line in done.stderr.splitlines() if not line.startswith("covey: ")] == []


@pytest.mark.usefixtures("files")
def test_a_name_that_no_file_can_have_is_an_error_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "x" * 300, "[x]" + "x" * 300, "cat.jpg"]) == 1
    _, first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("error: cannot be read (File name too long)")
    assert second.endswith("error: cannot be read (File name too long)")


@pytest.mark.parametrize(
    ("closed", "text"), [(True, "it is closed"), (False, "Bad file descriptor")], ids=["closed", "only for writing"]
)
def test_a_standard_input_that_cannot_be_read_is_told(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: bool, text: str
) -> None:
    with (files / "output").open("w") as output, open(output.fileno(), closefd=False) as unreadable:
        monkeypatch.setattr("sys.stdin", None if closed else unreadable)
        assert main(["classify", "cat.jpg", "-"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"covey: the standard input cannot be read ({text})\n"


def test_what_the_output_has_no_letters_for_is_written_in_others(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"\xff.png")
    (files / name).write_bytes(b"\xe9")  # the answer's label is then an accented e
    for arguments, text in ([], "\\udcff.png  \\xe9  "), (["--csv"], "\\udcff.png,\\xe9,"):
        output = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="ascii", write_through=True))
        assert main(["classify", name, *arguments]) == 0
        assert text in output.getvalue().decode("ascii")


@pytest.mark.parametrize("file", ["cat.jpg", "-"])
def test_ctrl_c_does_not_wait_for_a_server_that_says_nothing(files: Path, server: ScriptedServer, file: str) -> None:
    """Nor for an input that nobody writes."""
    server.hold()
    program = [sys.executable, "-m", "covey", "classify", "cat.jpg", file, "--deadline-ms", "600000"]
    with subprocess.Popen(program, cwd=files, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            if file == "-":
                assert process.stdin is not None
                process.stdin.write(bytes(1 << 20))  # more than a pipe holds: returns once it is being read
                while _state(process) != "S":  # until it sleeps, with the rest read
                    assert process.poll() is None
            else:
                server.wait_until_held()
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
        finally:
            process.kill()


def _state(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
