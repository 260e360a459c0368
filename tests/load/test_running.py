"""Load tests that do not go as wished, and the exit codes: what was measured is kept, and called what it is."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest
from tests.load.scripted import scripted

from covey import cli
from covey.errors import InvalidInput, Unavailable
from covey_load.measurement import Report, Snapshot
from covey_load.plan import Arrival, Plan, Scenario
from covey_load.reports import json_file
from covey_load.runner import run

QUIET = ("--quiet", "--warm-up", "0")


def command(target: str, *arguments: str, json: Path) -> tuple[int, Report]:
    code = cli.main(["load", target, *arguments, *QUIET, "--json", str(json)])
    return code, json_file.read(json)


def test_a_rate_beyond_the_generator_is_marked_invalid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with scripted() as server:
        code, report = command(server.target, "--rate", "1e6", "--seconds", "0.5", json=tmp_path / "report.json")
    assert code == 4
    (measured,) = report.runs
    assert any("were sent" in reason for reason in measured.invalid)
    assert any("calls were sent" in reason and "late" in reason for reason in measured.invalid)
    assert measured.calls < 250_000
    assert capsys.readouterr().out.startswith("INVALID")


def test_calls_that_wait_for_a_stalled_server_until_the_end_make_a_run_invalid() -> None:
    """They were due and never sent: no latency tells of them."""
    with scripted(stall_at=20, stall_s=3.0, most_calls=2) as server:  # early: also a slow generator gets there
        plan = Plan(server.target, rates=(100,), arrival=Arrival.CONSTANT, seconds=2, warm_up_s=0, connections=1)
        (measured,) = run(plan).runs
    assert 20 < measured.calls < 200
    assert any(f"only {measured.calls} of the 200 calls that were due were sent" in each for each in measured.invalid)


def test_a_server_that_goes_away_leaves_the_report(tmp_path: Path) -> None:
    def hang_up(number: int) -> None:
        if number == 300:
            os.kill(os.getpid(), signal.SIGUSR1)

    with scripted(on_call=hang_up) as server:
        previous = signal.signal(signal.SIGUSR1, lambda *_: server.close())
        try:
            code, report = command(
                server.target, "--concurrency", "2,4", "--seconds", "20", json=tmp_path / "report.json"
            )
        finally:
            signal.signal(signal.SIGUSR1, previous)
    assert code == 3
    assert report.interrupted.startswith("the server went away: no gRPC connection to 127.0.0.1:")
    (measured,) = report.runs  # the second load was not begun
    assert measured.calls >= 298
    assert measured.response.count + sum(measured.errors.values()) == measured.calls
    assert measured.seconds < 10


def test_ctrl_c_ends_with_what_was_measured(tmp_path: Path) -> None:
    def interrupt(number: int) -> None:
        if number == 200:
            os.kill(os.getpid(), signal.SIGINT)

    with scripted(on_call=interrupt) as server:
        code, report = command(server.target, "--rate", "400", "--seconds", "20", json=tmp_path / "report.json")
    assert (code, report.interrupted) == (130, "by Ctrl-C")
    (measured,) = report.runs
    assert 200 <= measured.calls < 4_000
    assert (measured.errors, measured.response.count) == ({}, measured.calls)
    assert measured.seconds < 10


def test_a_generator_that_stood_still_says_so() -> None:
    """In a closed loop nothing else would tell that from a server that did not answer."""
    resumed: list[threading.Timer] = []

    def freeze(number: int) -> None:
        if number == 100:
            for child in psutil.Process().children():
                if "covey_load.worker" in child.cmdline():
                    child.suspend()
                    resumed.append(threading.Timer(0.9, child.resume))
                    resumed[-1].start()

    with scripted(on_call=freeze) as server:
        (measured,) = run(Plan(server.target, concurrencies=(2,), calls=300, warm_up_s=0)).runs
    assert len(resumed) == 1
    assert measured.response.count == 300
    assert any("did not get to run for" in reason for reason in measured.invalid)


def test_failed_calls_are_counted_by_their_code(tmp_path: Path) -> None:
    """And a call that is not answered by its deadline is given up then: in real time, long enough for all others on a
    busy machine."""
    codes = {1: 8, 2: 14}  # RESOURCE_EXHAUSTED, UNAVAILABLE
    with scripted(lambda number: 60.0 if number == 3 else 0.0, code=lambda number: codes.get(number % 4, 0)) as server:
        flags = ["--concurrency", "1", "--calls", "40", "--deadline-ms", "5000"]
        code, report = command(server.target, *flags, json=tmp_path / "report.json")
    assert code == 0
    (measured,) = report.runs
    assert measured.errors == {"RESOURCE_EXHAUSTED": 10, "UNAVAILABLE": 10, "DEADLINE_EXCEEDED": 1}
    assert (measured.calls, measured.response.count) == (40, 19)
    assert any("21 of 40 calls failed" in warning for warning in measured.warnings)


def test_no_answer_at_all_is_a_failure(tmp_path: Path) -> None:
    with scripted(code=lambda number: 13) as server:
        code, report = command(server.target, "--concurrency", "2", "--calls", "10", json=tmp_path / "report.json")
    assert code == 3
    assert report.runs[0].errors == {"INTERNAL": 10}
    assert report.runs[0].response.percentiles_ms == {}


def test_a_sweep_with_repetitions_is_a_run_for_each(tmp_path: Path) -> None:
    snapshots: list[Snapshot] = []
    with scripted(0.001) as server:
        plan = Plan(
            server.target,
            concurrencies=(1, 3),
            calls=30,
            warm_up_s=0.05,
            repeat=2,
            processes=1,
            images_per_call=2,
            slo_ms=5_000,
            command="covey load",
        )
        report = run(plan, snapshots.append)
        json_file.write(tmp_path / "report.json", report)
    assert [
        (run_measured.load.concurrency, run_measured.load.repetition, run_measured.calls)
        for run_measured in report.runs
    ] == [
        (1, 0, 30),
        (3, 0, 30),
        (1, 1, 30),
        (3, 1, 30),
    ]
    for measured in report.runs:
        assert measured.images == 60
        assert measured.goodput_per_s == pytest.approx(measured.calls_per_s)
        assert measured.seconds < 5
    assert {snapshot.load.concurrency for snapshot in snapshots} == {1, 3}
    assert json_file.read(tmp_path / "report.json") == report


def test_several_processes_share_the_load() -> None:
    with scripted(0.005) as server:
        # By calls: in a second, a generator that gets no core at its end would leave its last ones unsent.
        plan = Plan(server.target, rates=(300,), arrival=Arrival.CONSTANT, calls=300, warm_up_s=0, processes=2)
        (measured,) = run(plan).runs
    assert measured.calls == server.calls == 300
    assert measured.generator.processes == 2
    assert measured.response.count == sum(interval.calls for interval in measured.intervals) == 300


def test_the_mlperf_scenarios_are_loads() -> None:
    def loads(scenario: Scenario, rates: tuple[float, ...] = ()) -> list[tuple[str, int | None, int]]:
        plan = Plan("localhost", scenario=scenario, rates=rates)
        return [(load.loop, load.concurrency, load.images_per_call) for load in plan.loads()]

    assert loads(Scenario.SINGLE_STREAM) == [("closed", 1, 1)]
    assert loads(Scenario.MULTI_STREAM) == [("closed", 1, 8)]
    assert loads(Scenario.SERVER, (50.0,)) == [("open", None, 1)]
    assert loads(Scenario.OFFLINE) == [("closed", 16, 64)]


def test_nobody_there_and_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no Covey server answers at 127\.0\.0\.1:1 "):
        run(Plan("127.0.0.1:1", concurrencies=(1,)))
    assert cli.main(["load", "127.0.0.1:1", "--concurrency", "1"]) == 3
    with scripted() as server:
        assert cli.main(["load", server.target, "--rate", "9", "--json", str(tmp_path / "no" / "file")]) == 2
        assert "there is no folder" in capsys.readouterr().err
        for url, reason in (("metrics", "unknown url type"), (f"http://{server.target}/metrics", "cannot be read")):
            with pytest.raises(InvalidInput, match=rf"--metrics-url {url}: .*{reason}.*; expected the page of a Covey"):
                run(Plan(server.target, rates=(1,), metrics_url=url))
        with pytest.raises(InvalidInput, match="takes one server, as HOST:PORT"):
            run(Plan(f"{server.target},localhost:1", rates=(1,)))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "say what load to put on: --concurrency N"),
        (["--concurrency", "0"], "--concurrency takes a number of at least 1, not 0"),
        (["--concurrency", "8,x"], "--concurrency takes numbers, as in 1,8,64, not 'x'"),
        (["--concurrency", "1", "--rate", "2"], "--concurrency and --rate cannot go together"),
        (["--rate", "nan"], "--rate takes numbers, as in 100,200,400, not 'nan'"),
        (["--rate", "-1"], "--rate takes a number above 0, not -1"),
        (["--ramp", "5"], "--ramp takes two rates, as in 100..1000, not '5'"),
        (["--ramp", "50...100"], "--ramp takes two rates, as in 100..1000, not '50...100'"),
        (["--ramp", "5..9", "--calls", "3"], "--ramp needs a duration"),
        (["--scenario", "server"], "--scenario server needs a rate"),
        (["--scenario", "server", "--ramp", "1..2"], "--scenario server is an open loop"),
        (["--scenario", "offline", "--rate", "5"], "--rate and --scenario offline cannot go together"),
        (["--find-capacity"], "--find-capacity needs the bound that calls must keep: --slo-ms MS"),
        (["--find-capacity", "--slo-ms", "5", "--calls", "3"], "omit --calls"),
        (["--rate", "5", "--slo-ms", "90", "--deadline-ms", "80"], "--slo-ms 90 is above --deadline-ms 80"),
        (["--rate", "5", "--seconds", "0"], "--seconds takes a number above 0 to 86400, a day, not 0"),
        (["--rate", "5", "--seconds", "1e300"], "--seconds takes a number above 0 to 86400, a day, not 1e+300"),
        (["--rate", "5", "--seed", "-1"], "--seed takes a number of 0 or more, not -1"),
        (["--rate", "5", "--server-pid", "-1"], "--server-pid takes a number above 0, not -1"),
        (["--rate", "5", "--assert", ""], "--assert: '' is no assertion"),
        (["--rate", "5", "--processes", "65"], "--processes takes a number from 1 to 64, not 65"),
        (["--concurrency", "2", "--processes", "3"], "3 processes need at least as many calls in flight"),
        (["--rate", "5", "--model", "a=0"], "--model takes a number above 0 as weight, not 0"),
        (
            ["--find-capacity", "--slo-ms", "5", "--assert", "capacity_per_s>9,p99_ms<50"],
            "--assert: with --find-capacity only capacity_per_s can be judged, not p99_ms",
        ),
        (["--rate", "5", "--anyway"], "--anyway goes with compare only"),
        (["--rate", "5", "more", "targets"], "one target at a time, not more, targets"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["load", "--target", "127.0.0.1:1", *arguments]) == 2
    assert expected in capsys.readouterr().err
