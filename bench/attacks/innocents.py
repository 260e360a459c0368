"""Owns the innocent callers: an open loop of single images by `covey load` while an attack goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import ROOT

RATE_PER_S = 100  # p99 needs a thousand calls
_SETTLE_S = 120


@dataclass
class Innocents:
    """What became of them; filled in when they have ended."""

    calls: int = 0
    p50_ms: float = float("nan")
    p99_ms: float = float("nan")
    max_ms: float = float("nan")
    errors: dict[str, int] = field(default_factory=dict)
    said: str = ""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


@contextmanager
def innocents(target: str, model: str, seconds: float, file: Path, options: Sequence[str] = ()) -> Iterator[Innocents]:
    """Callers of `model` for so many seconds. They are waited for on leaving."""
    found = Innocents()
    command = [sys.executable, "-m", "covey", "load", "--target", target, "--model", model]
    command += ["--rate", str(RATE_PER_S), "--seconds", str(seconds), "--warm-up", "0.5", "--connections", "4"]
    command += ["--quiet", "--deadline-ms", "10000", "--json", str(file), *options]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
    ) as process:
        try:
            yield found
        finally:
            try:
                found.said, _ = process.communicate(timeout=seconds + _SETTLE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                found.said, _ = process.communicate()
    if file.exists():
        run = json.loads(file.read_text())["runs"][0]
        found.calls, found.errors = run["calls"], run["errors"]
        response = run["response"]
        percentiles = {float(name): value for name, value in response["percentiles_ms"].items()}
        found.p50_ms, found.p99_ms = (percentiles.get(each, float("nan")) for each in (50.0, 99.0))
        found.max_ms = response["max_ms"]
