"""The scripts in clients/loadtest, as users start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.load.scripted import scripted

SCRIPTS = Path(__file__).parents[2] / "clients" / "loadtest"
CANNOT_TELL = 4  # the generator was late: what a machine that others use too may come to
SHORT = ("--seconds", "0.3", "--warm-up", "0", "--quiet")


def start(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", str(SCRIPTS / script), *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def test_ci_measures_and_writes_its_report(tmp_path: Path) -> None:
    with scripted(0.001) as server:
        finished = start(tmp_path, "ci.sh", server.target, "900", "9000", *SHORT, "--seconds", "1.5")
    assert finished.returncode in (0, CANNOT_TELL), finished.stdout + finished.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"ci.json", "ci.html"}
    assert finished.stderr == ""


def test_before_and_after_measures_the_first_again_and_compares(tmp_path: Path) -> None:
    with scripted(0.001) as before, scripted(0.02) as after:
        finished = start(tmp_path, "before_and_after.sh", before.target, after.target, *SHORT, "--repeat", "2")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    against_after, against_again = finished.stdout.split("first   before.json")[1:]
    for file, comparison in (("after.json", against_after), ("again.json", against_again)):
        assert f"second  {file}: scripted version 1 at" in comparison
        assert "concurrency 16 (2 runs and 2 runs)\nFIGURE" in comparison


def test_a_broken_promise_fails_ci(tmp_path: Path) -> None:
    with scripted(0.05) as server:
        finished = start(tmp_path, "ci.sh", server.target, "900", "20", *SHORT, "--seconds", "1.5")
    assert finished.returncode in (5, CANNOT_TELL), finished.stdout + finished.stderr
    assert "p99_ms < 20" in finished.stderr


def test_every_script_says_what_it_needs() -> None:
    for script in SCRIPTS.glob("*.sh"):
        assert os.access(script, os.X_OK)
        assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
        if script.name != "sweep.sh":
            finished = subprocess.run(["sh", str(script)], capture_output=True, text=True, check=False)
            assert finished.returncode != 0
            assert "as in:" in finished.stderr
