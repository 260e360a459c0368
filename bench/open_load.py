"""Runs the open-loop load generator against a server, and counts what its callers got of what they needed."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.open_loop import RECORD_FIELDS, ROUND_US, Summary
from bench.processes import CLASSIFY, ROOT, BenchError, Server
from covey_load.wire.grpc_status import NAMES, OK

# Above this the generator was not the caller it should have been: its calls came late and in heaps.
MAX_LAG_MS = 5.0


@dataclass(frozen=True)
class OpenLoad:
    """What came of an open-loop load. One entry per call, in the order of their ends: when it was meant to start
    (time.perf_counter_ns), its latency from then on, its status, and the number of its message."""

    summary: Summary
    started_ns: NDArray[np.int64]
    latencies_ns: NDArray[np.int64]
    statuses: NDArray[np.int64]
    numbers: NDArray[np.int64]

    def in_time(self, limit_ms: float) -> int:
        """Calls that were answered, and within the limit."""
        return int(np.count_nonzero((self.statuses == OK) & (self.latencies_ns <= limit_ms * 1e6)))

    def by_status(self) -> Counter[str]:
        """Calls by how they ended; those that their caller gave up ended DEADLINE_EXCEEDED."""
        return Counter(
            {
                NAMES[int(code)]: int(count)
                for code, count in zip(*np.unique(self.statuses, return_counts=True), strict=True)
            }
        )

    def percentile_ms(self, percent: float, from_ns: float = -np.inf, to_ns: float = np.inf) -> float:
        """Latency of the answered calls that were meant to start in [from_ns, to_ns); infinite where there is none."""
        chosen = (self.statuses == OK) & (self.started_ns >= from_ns) & (self.started_ns < to_ns)
        return float(np.percentile(self.latencies_ns[chosen], percent)) / 1e6 if chosen.any() else math.inf

    @property
    def flaw(self) -> str:
        """Why the load is no measurement; empty where it is one."""
        lag_ms = self.summary.lag_p99_us / 1000
        return f"invalid: calls were sent up to {lag_ms:.1f} ms late (p99)" if lag_ms > MAX_LAG_MS else ""


class RunningLoad:
    """An open-loop load that is being put on a server."""

    def __init__(self, process: subprocess.Popen[str], name: str, records: Path) -> None:
        self._process = process
        self._name = name
        self._records = records

    def stop(self) -> None:
        """Sends no more calls. `finish` gives the result."""
        self._process.send_signal(signal.SIGTERM)

    def finish(self) -> OpenLoad:
        """Waits for the end of the load. Raises BenchError where the generator failed."""
        output, errors = self._process.communicate()
        if self._process.returncode:
            raise BenchError(f"load on {self._name}: {errors.strip()}")
        summary = Summary(**json.loads(output))
        records = np.fromfile(self._records, np.int64).reshape(-1, RECORD_FIELDS)
        return OpenLoad(summary, *records.T)


@contextmanager
def open_load(
    server: Server,
    messages: Path,
    *,
    rate: float,
    seconds: float,
    timeout_s: float,
    folder: Path,
    seed: int = 0,
    round_us: int = ROUND_US,
    answers: Path | None = None,
) -> Iterator[RunningLoad]:
    """A load of `rate` calls per second, from now on, for `seconds`; records go to `folder`."""
    records = folder / "records"
    command = [sys.executable, "-m", "bench.open_loop", "--target", server.target, "--method", CLASSIFY]
    command += ["--messages", str(messages), "--records", str(records), "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--timeout-s", str(timeout_s), "--seed", str(seed)]
    command += ["--round-us", str(round_us)]
    command += ["--answers", str(answers)] if answers else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # "started", or nothing where it could not, which `finish` tells
        yield RunningLoad(process, server.name, records)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
