"""Runs the closed-loop load generator against a server, and says what that cost the server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load_generator import LoadResult
from bench.processes import CALL_TIMEOUT_S, CLASSIFY, ROOT, BenchError, Server


@dataclass(frozen=True)
class Load:
    """One load: what its callers saw, what it cost the server per call, and how many images its batches held (0 where
    the server counts none)."""

    result: LoadResult
    cpu_us: float
    mean_batch: float


def measure_load(server: Server, messages: Path, in_flight: int, seconds: float, flags: Sequence[str] = ()) -> Load:
    """Puts the load on and reads the server's CPU time before and after. Raises BenchError as `put_load`."""
    batches_start, images_start = server.batches()
    cpu_start = server.cpu_seconds()  # after the scrape above and before the one below: they cost CPU too
    result = put_load(server, messages, in_flight, seconds, flags)
    cpu = server.cpu_seconds() - cpu_start
    batches, images = server.batches()
    ran = batches - batches_start
    return Load(result, cpu * 1e6 / result.calls, (images - images_start) / ran if ran else 0.0)


def put_load(server: Server, messages: Path, in_flight: int, seconds: float, flags: Sequence[str] = ()) -> LoadResult:
    """Runs the load generator against `server`, in a process of its own, each call with a deadline, as the SDK's are.

    Raises:
        BenchError: it could not, or a call failed: figures of failing calls mean nothing.
    """
    result = run_generator(server, messages, in_flight, ["--seconds", str(seconds), *flags])
    if result.failures:
        raise BenchError(f"{server.name} failed {result.failures} of {result.calls} calls; its log may say why")
    return result


def run_generator(server: Server, messages: Path, in_flight: int, flags: Sequence[str]) -> LoadResult:
    """Runs the load generator, whatever becomes of the calls. Raises BenchError where it could not."""
    command = [sys.executable, "-m", "bench.load_generator", "--target", server.target, "--method", CLASSIFY]
    command += ["--messages", str(messages), "--in-flight", str(in_flight), "--timeout-s", str(CALL_TIMEOUT_S), *flags]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise BenchError(f"load on {server.name}: {finished.stderr.strip()}")
    return LoadResult(**json.loads(finished.stdout))
