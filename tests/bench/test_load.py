"""Loads of the benchmark: what is made of a recording, and what is said where a load is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from bench.load import OpenLoad, open_load, put_load
from bench.processes import BenchError, Server, echo_server

from covey_load.recording import Recording
from covey_load.wire.grpc_status import NO_STATUS, OK

MS = 1_000_000
RESOURCE_EXHAUSTED = 8


def load(latencies_ms: list[int], statuses: list[int], lag_ms: float = 0.3) -> OpenLoad:
    """Of calls that were due 1 ms apart."""
    due_ns = np.arange(len(latencies_ms)) * MS
    sent_ns = due_ns + int(lag_ms * MS)
    ended_ns = due_ns + np.array(latencies_ms, np.int64) * MS
    numbers = np.zeros_like(due_ns)
    return OpenLoad(Recording(0, 1.0, 0.1, due_ns, sent_ns, ended_ns, np.array(statuses), numbers, [], []))


def test_in_time_is_answered_and_within_the_limit() -> None:
    open_load = load([10, 50, 51, 20, 30, 40], [OK, OK, OK, RESOURCE_EXHAUSTED, NO_STATUS, OK])
    assert open_load.in_time(50) == 3
    assert open_load.calls.by_status() == {"OK": 4, "RESOURCE_EXHAUSTED": 1, "none": 1}
    assert (open_load.percentile_ms(100), open_load.percentile_ms(0)) == (51, 10)
    assert open_load.percentile_ms(100, from_ns=1 * MS, to_ns=2 * MS) == 50
    assert open_load.percentile_ms(50, from_ns=3 * MS, to_ns=5 * MS) == np.inf  # none of those was answered
    assert open_load.flaw == ""


def test_a_load_whose_calls_were_late_is_not_valid() -> None:
    assert load([10, 10], [OK, OK], lag_ms=5.1).flaw == "invalid: calls were sent up to 5.1 ms late (p99)"
    assert load([], []).flaw == ""


def test_an_open_load_runs_beside_what_is_done_meanwhile_and_ends_when_told() -> None:
    with echo_server(answer_bytes=5) as server:
        with open_load(server, [b"one", b"two"], rate=200, seconds=600, timeout_s=5, keep_answers=True) as running:
            running.stop()
            early = running.finish()
        assert early.calls.seconds < 300
        assert len(early.calls.answers) == early.calls.calls
        assert put_load(server, [b"one"], 2, 0.1).calls > 0  # the server is as it was


def test_what_the_generator_cannot_do_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"], text=True) as process:
        server = Server("nobody", process, "127.0.0.1:1", None)
        with (
            open_load(server, [b"one"], rate=1, seconds=1, timeout_s=1) as running,
            pytest.raises(BenchError, match=r"load on nobody: no gRPC connection to 127\.0\.0\.1:1"),
        ):
            running.finish()
