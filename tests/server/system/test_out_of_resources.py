"""No thread left, and a standard output that cannot be written: an exit code and a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.conftest import WriteModel

from covey_server.fronts.intake import Intake
from covey_server.system import standard_output, threads

# A limit for a user does not hold for root: the system's answer is put in the place of a thread too many.
FEW_THREADS = """
import sys, threading, _thread
begin, limit, alive = _thread.start_new_thread, int(sys.argv.pop(1)), []
def start(run, arguments):
    if len(alive) >= limit:
        raise RuntimeError("can't start new thread")
    alive.append(None)
    def counted():
        try:
            run(*arguments)
        finally:
            alive.pop()
    return begin(counted, ())
threading._start_new_thread = start
import covey_server.__main__
raise SystemExit(covey_server.__main__.main())
"""


def run(flags: list[str], code: str | None = None, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "covey_server"] if code is None else [sys.executable, "-c", code]
    flags = [*flags, "--grpc-port", "0", "--metrics-port", "0"]
    return subprocess.run([*command, *flags], text=True, timeout=60, check=False, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize(
    ("front", "limit"), [("native", 0), ("grpcio", 1), ("grpcio", 3), ("native", 5), ("grpcio", 6), ("native", 10)]
)
def test_a_server_that_gets_no_thread_says_so(
    tmp_path: Path, write_echo_model: WriteModel, front: str, limit: int
) -> None:
    write_echo_model(tmp_path)
    done = run([str(limit), "--models", str(tmp_path), "--front", front], FEW_THREADS, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (1, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("covey-server: can't start new thread: this process may start no more threads; raise")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "unbuffered"),
    [
        (["--check"], ""),
        (["--check"], "1"),
        ([], ""),
        (["--help"], ""),
        (["--help"], "1"),
    ],
)
def test_an_output_that_cannot_be_written(
    tmp_path: Path, write_echo_model: WriteModel, flags: list[str], unbuffered: str
) -> None:
    write_echo_model(tmp_path)
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = run(["--models", str(tmp_path), *flags], stdout=full, env=environment)
    assert done.returncode == 2
    assert "covey-server: the output cannot be written: No space left on device\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("flag", ["--check", "--help"])
def test_a_standard_output_that_is_closed_is_no_error(tmp_path: Path, write_echo_model: WriteModel, flag: str) -> None:
    write_echo_model(tmp_path)
    command = [
        "bash",
        "-c",
        'exec "$@" >&-',
        "bash",
        sys.executable,
        "-m",
        "covey_server",
        "--models",
        str(tmp_path),
        flag,
    ]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_what_says_ready_needs_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert standard_output.write(lambda: print("ready")) == 0


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, write_echo_model: WriteModel) -> None:
    """As with `covey-server --check | head -1`."""
    write_echo_model(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    done = run(["--models", str(tmp_path), "--check"], stdout=writing)
    os.close(writing)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_the_threads_of_a_pool_are_there_from_the_start() -> None:
    with ThreadPoolExecutor(3, "all-there") as pool:
        threads.start_all(pool, 3)
        assert sum(each.name.startswith("all-there") for each in threading.enumerate()) == 3


def refuse_from(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads that are started from now on, but for the first `number`, cannot be had."""
    started: list[None] = []
    begin: Callable[[threading.Thread], None] = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        started.append(None)
        if len(started) > number:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


def test_a_pool_that_gets_too_few_keeps_none_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ThreadPoolExecutor(3)
    refuse_from(2, monkeypatch)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        threads.start_all(pool, 3)
    pool.shutdown(wait=True)  # would wait for ever


def test_an_intake_without_a_second_thread_goes_on_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    held, go_on = threading.Event(), threading.Event()

    def take() -> bool:
        calls.append(threading.get_ident())
        if len(calls) == 1:
            held.set()
            go_on.wait()
        return len(calls) < 3

    intake = Intake("test", take)
    refuse_from(1, monkeypatch)
    intake.start()
    held.wait()
    intake.take_over(calls[0])
    go_on.set()
    intake.join(20)
    assert calls == [calls[0]] * 3
