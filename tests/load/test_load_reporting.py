"""`covey load`'s reports and `covey doctor`, against a real server process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench.processes import Server, covey_server
from tests.conftest import WriteModel

from covey.cli import main
from covey_load.reports import json_file

from . import examples

SHORT = ["--concurrency", "2", "--seconds", "0.5", "--warm-up", "0", "--quiet"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, write_echo_model: WriteModel) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    write_echo_model(folder)
    with covey_server(folder, "auto", folder.parent / "server.log") as running:
        yield running


@pytest.fixture
def target(server: Server) -> str:
    return server.target


def test_summary_files_and_assertions_that_hold(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, page = tmp_path / "a.json", tmp_path / "a.html"
    files = ["--json", f"{data}", "--html", f"{page}"]
    watched = ["--metrics-url", f"{server.metrics_url}"]

    code = main(["load", server.target, *SHORT, *files, *watched, "--assert", "errors==0,calls>0"])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.startswith(f"VALID\n\ntarget   echo version 1 at {server.target}, by covey\n")
    (run,) = json_file.read(data).runs
    assert run.metrics is not None
    assert run.metrics.requests == run.metrics.client_calls
    assert page.read_text().count("<figure>") == 4
    assert out.endswith(
        f"\n\n- concurrency 2: errors == 0 holds: it is 0\n- concurrency 2: calls > 0 holds: it is {run.calls:,}\n"
    )


def test_assertion_that_does_not_hold_has_its_own_exit_code(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", target, *SHORT, "--assert", "p50_ms<0.001,errors==0"]) == 5

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("covey: concurrency 2: p50_ms < 0.001 does not hold: it is ")


def test_mistakes_are_told_before_the_load(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing" / "a.json"

    assert main(["load", target, *SHORT, "--assert", "p98_ms<20"]) == 2
    assert main(["load", target, *SHORT, "--html", f"{missing}"]) == 2

    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("covey: --assert: there is no figure 'p98_ms'; there are calls, ")
    assert second == f"covey: {missing}: there is no folder {missing.parent} to write to"


def test_compare_of_two_files(target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [f"{tmp_path / name}" for name in ("a.json", "b.json")]
    for file in files:
        assert main(["load", target, *SHORT, "--repeat", "2", "--json", file]) == 0
    capsys.readouterr()

    assert main(["load", "compare", *files, files[0]]) == 0

    out = capsys.readouterr().out
    assert out.count("concurrency 2 (2 runs and 2 runs)") == 2
    assert "99 times in 100 the interval holds the true ratio" in " ".join(out.split())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "covey: covey load compare takes two files of covey load --json or more, not 0"),
        (
            ["a.json", "b.json", "--html", "c.html", "--assert", "errors==0", "--rate", "5"],
            "covey: covey load compare measures and writes nothing: leave out --assert, --html, --rate",
        ),
        (["missing.json", "b.json"], "covey: missing.json: cannot be read (No such file or directory)"),
    ],
)
def test_compare_of_what_is_no_report(files: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["load", "compare", *files]) == 2
    assert capsys.readouterr().err.startswith(message)


def test_doctor(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", target, "--seconds", "1", "--in-flight", "16"]) == 0

    out, err = capsys.readouterr()
    assert out.startswith(f"echo version 1 at {target}, by covey\n\nRUN; LATENCY IN MS")
    assert "\nWhat limits it: the " in out
    assert "\n- average batch 1.0: only one request was in flight\n" in out
    assert "\n- average batch " in out.replace("average batch 1.0: only", "")
    assert err.splitlines()[0].startswith("concurrency 1, warming up for ")


@pytest.mark.parametrize("is_http", [False, True])
def test_doctor_names_the_limit_of_a_token(
    write_echo_model: WriteModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, is_http: bool
) -> None:
    """Two calls at a time are let in, so that of many some are refused. It is known by the metrics, and by what the
    server says to a call that it refuses."""
    write_echo_model(tmp_path / "models")
    (tmp_path / "token").write_text("token-of-this-test")
    principal = f"token:{hashlib.sha256(b'token-of-this-test').hexdigest()[:12]}"
    (tmp_path / "limits").write_text(f'[nightly]\nprincipals = ["{principal}"]\nin_flight = 2\n')
    flags = ["--auth-token-file", str(tmp_path / "token"), "--limits-file", str(tmp_path / "limits")]
    flags += ["--metrics-host", "127.0.0.2"]  # it is not found by itself, whatever its port
    with covey_server(tmp_path / "models", "auto", tmp_path / "log", flags) as server:
        target = f"http://{server.http_target}" if is_http else server.target
        given = [target, "--seconds", "0.5", "--in-flight", "16", "--token-file", str(tmp_path / "token")]
        assert main(["doctor", *given, "--metrics-url", f"{server.metrics_url}"]) == 0
        told = capsys.readouterr()
        assert main(["doctor", *given]) == 0
        by_words = " ".join(capsys.readouterr().out.split())
    assert told.err.startswith("covey: sends as many calls as are answered for 2 s; limits of this token are used up")
    out = " ".join(told.out.split())
    assert "What limits it: the token's limit. " in out
    assert "with 16 in flight were refused, for in_flight of [nightly] in the server's limits file" in out
    assert "What limits it: the token's limit. " in by_words
    assert "were refused: \"2 calls of 'nightly' are unanswered, as many as it may have at once" in by_words


def test_doctor_of_nobody_and_of_nonsense(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "127.0.0.1:1", "--deadline-ms", "2000"]) == 3
    assert main(["doctor", "127.0.0.1:1", "--in-flight", "1"]) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("covey: no Covey server answers at 127.0.0.1:1 ")
    assert second == "covey: --in-flight takes a number of at least 2, not 1: it is held against 1"


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("rich", ["load", "127.0.0.1:1", *SHORT[:-1]]),
        ("hdrh", ["load", "127.0.0.1:1", *SHORT]),
        ("msgspec", ["load", "compare", "a.json", "b.json"]),
        ("psutil", ["doctor", "127.0.0.1:1"]),
    ],
)
def test_missing_extra_is_one_line(missing: str, arguments: list[str]) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from covey.cli import main; sys.exit(main())"
    finished = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)

    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    assert line == (
        f"covey: the package {missing!r} is not installed; covey load, doctor and plan need an extra: "
        "pip install 'covey-serve[load]'"
    )


def test_options_of_compare_stand_anywhere_among_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, payload in zip(files, ("one payload", "another"), strict=True):
        json_file.write(file, replace(examples.report(examples.run()), payload=payload))
    first, second = map(str, files)
    for arguments in (("--anyway", first, second), (first, "--anyway", second), (first, second, "--anyway")):
        assert main(["load", "compare", *arguments]) == 0, capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["load", "compare", first, "--always", second])
    assert "unrecognized arguments: --always" in capsys.readouterr().err
