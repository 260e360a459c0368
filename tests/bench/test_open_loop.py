"""Load that does not wait: its schedule, and its accounts held against servers that answer when the test says."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from bench import message_file
from bench.open_load import OpenLoad, open_load
from bench.open_loop import RECORD_FIELDS, OpenLoadGenerator, Summary
from bench.processes import CLASSIFY, BenchError, Server, echo_server
from tests.bench.serving import METHOD, RESOURCE_EXHAUSTED, serve_natively

from covey_load.pool import LoadError
from covey_load.schedule import poisson
from covey_load.wire.frames import Request
from covey_load.wire.grpc_status import DEADLINE_EXCEEDED, NO_STATUS, OK
from covey_load.wire.sockets import Endpoint

MS = 1_000_000
REQUEST = Request("test", METHOD, b"m")


def records(loop: OpenLoadGenerator) -> list[tuple[int, ...]]:
    return [tuple(row) for row in np.array(loop.records.rows).reshape(-1, RECORD_FIELDS).tolist()]


def test_every_arrival_is_one_call_with_its_status_and_message() -> None:
    def answer(message: bytes, number: int) -> bytes | int:
        return RESOURCE_EXHAUSTED if message == b"refused" else message

    messages = [b"refused", b"one", b"two"]
    with serve_natively(answer) as (port, arrivals):
        requests = [Request(f"127.0.0.1:{port}", METHOD, each, 20, number) for number, each in enumerate(messages)]
        with closing(OpenLoadGenerator(Endpoint("127.0.0.1", port), requests, timeout_s=20, answers=True)) as loop:
            summary = loop.run(range(0, 30 * MS, MS // 2))
    assert Counter(arrivals.messages) == Counter(messages * 20)
    assert summary.calls == 60
    assert Counter((status, number) for _, _, status, number in records(loop)) == {
        (RESOURCE_EXHAUSTED, 0): 20,
        (OK, 1): 20,
        (OK, 2): 20,
    }
    assert Counter(number for number, _ in loop.records.answers) == {1: 20, 2: 20}
    assert {started - summary.start_ns for started, *_ in records(loop)} == set(range(0, 30 * MS, MS // 2))


def test_latency_counts_from_the_moment_a_call_was_meant_to_be_sent() -> None:
    """Two calls that are 70 ms late when the loop begins are charged these 70 ms; the third is not."""
    with serve_natively(lambda message, number: message) as (port, _):
        requests = [Request(f"127.0.0.1:{port}", METHOD, b"message", 20)]
        with closing(OpenLoadGenerator(Endpoint("127.0.0.1", port), requests, timeout_s=20)) as loop:
            summary = loop.run([-70 * MS, -70 * MS, 0])
    latencies = sorted(latency for _, latency, _, _ in records(loop))
    assert latencies[0] < latencies[1] - 60 * MS
    assert latencies[1] >= 70 * MS
    assert summary.lag_p50_us >= 70_000


def test_calls_without_an_answer_are_cancelled_at_their_deadline_and_others_go_on() -> None:
    released = threading.Event()

    def hold_every_second(message: bytes, number: int) -> bytes:
        if message == b"held":
            released.wait(30)
        return message

    with serve_natively(hold_every_second) as (port, _):
        requests = [Request(f"127.0.0.1:{port}", METHOD, each, 20) for each in (b"held", b"quick")]
        with closing(OpenLoadGenerator(Endpoint("127.0.0.1", port), requests, timeout_s=0.2)) as loop:
            loop.run([0] * 8)
        released.set()
    ends = records(loop)
    assert Counter(status for _, _, status, _ in ends) == {OK: 4, DEADLINE_EXCEEDED: 4}
    assert all(latency >= 200 * MS for _, latency, status, _ in ends if status == DEADLINE_EXCEEDED)


def test_a_loop_that_is_stopped_sends_nothing_more() -> None:
    with serve_natively(lambda message, number: message) as (port, arrivals):
        with closing(
            OpenLoadGenerator(Endpoint("127.0.0.1", port), [Request("test", METHOD, b"m")], timeout_s=1)
        ) as loop:
            loop.stop()
            assert loop.run([0] * 5).calls == 0
        assert arrivals.messages == []


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(LoadError, match=r"no gRPC connection to 127.0.0.1:1: "):
        OpenLoadGenerator(Endpoint("127.0.0.1", 1), [REQUEST], timeout_s=1)


def summary(lag_p99_us: float = 300.0) -> Summary:
    return Summary(0, 6, 1.0, 100.0, lag_p99_us, 2000.0, 10.0)


def test_in_time_is_answered_and_within_the_limit() -> None:
    latencies = np.array([10, 50, 51, 20, 30, 40]) * MS
    statuses = np.array([OK, OK, OK, RESOURCE_EXHAUSTED, NO_STATUS, OK])
    started = np.arange(6) * MS
    load = OpenLoad(summary(), started, latencies, statuses, np.zeros(6, np.int64))
    assert load.in_time(50) == 3
    assert load.by_status() == {"OK": 4, "RESOURCE_EXHAUSTED": 1, "none": 1}
    assert (load.percentile_ms(100), load.percentile_ms(0)) == (51, 10)
    assert load.percentile_ms(100, from_ns=1 * MS, to_ns=2 * MS) == 50
    assert load.percentile_ms(50, from_ns=3 * MS, to_ns=5 * MS) == np.inf  # none of those was answered
    assert load.flaw == ""


def test_a_load_whose_calls_were_late_is_not_valid() -> None:
    none = np.zeros(0, np.int64)
    assert OpenLoad(summary(5100), none, none, none, none).flaw == "invalid: calls were sent up to 5.1 ms late (p99)"


def test_the_process_gives_its_records_and_ends_when_told(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    message_file.write(messages, [b"one", b"two"])
    with echo_server(answer_bytes=5) as server:
        with open_load(server, messages, rate=500, seconds=0.2, timeout_s=5, folder=tmp_path) as running:
            load = running.finish()
        planned = list(poisson(500, 0.2, seed=0))
        assert load.summary.calls == len(planned) == len(load.statuses) > 50
        assert sorted(load.started_ns - load.summary.start_ns) == planned
        assert set(load.statuses) == {OK}
        answers = tmp_path / "answers"
        with open_load(
            server, messages, rate=200, seconds=600, timeout_s=5, folder=tmp_path, answers=answers
        ) as running:
            running.stop()
            early = running.finish()
        assert early.summary.seconds < 300
        assert len(list(message_file.read_answers(answers))) == early.summary.calls


def test_what_the_process_cannot_do_is_told(tmp_path: Path) -> None:
    message_file.write(tmp_path / "messages", [b"one"])
    with subprocess.Popen([sys.executable, "-c", "pass"], text=True) as process:
        gone = Server("nobody", process, "127.0.0.1:1", None)
        with (
            open_load(gone, tmp_path / "messages", rate=1, seconds=1, timeout_s=1, folder=tmp_path) as running,
            pytest.raises(BenchError, match=r"load on nobody: open_loop: no gRPC connection to 127\.0\.0\.1:1"),
        ):
            running.finish()


def test_the_summary_is_json(tmp_path: Path) -> None:
    message_file.write(tmp_path / "messages", [b"one"])
    with echo_server(answer_bytes=1) as server:
        command = [sys.executable, "-m", "bench.open_loop", "--target", server.target, "--method", CLASSIFY]
        command += ["--messages", str(tmp_path / "messages"), "--records", str(tmp_path / "records")]
        command += ["--rate", "100", "--seconds", "0.1", "--timeout-s", "1"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "started"
    assert set(json.loads(lines[1])) == set(Summary.__dataclass_fields__)
