"""Owns the server under fuzzing: a process of its own on free ports, its memory over the run, and its log."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import Server, covey_server, fetch
from prometheus_client.parser import text_string_to_metric_families
from tests.fuzz.samples import write_models

# Absurd sizes stay below this often enough to be decoded, and the others cost nothing.
FLAGS = ("--default-model", "echo", "--max-image-pixels", "2000000")
# What no request may put into the log.
ALARMS = ("Traceback", "this is a bug", "Fatal Python error", "panicked", "Warning:")
# Where records of the log begin: with a time, the server's or gRPC's own.
RECORD = re.compile(r"^(?=\d{4}-\d\d-\d\d |[EWIF]\d{4} )", re.MULTILINE)


@contextmanager
def fuzzed_server(folder: Path, front: str, http_port: int) -> Iterator[Server]:
    """A server of the two models of `samples`, its log in `folder`/server.log."""
    models = folder / "models"
    write_models(models)
    flags = (*FLAGS, "--http-port", str(http_port))
    with covey_server(models, front, folder / "server.log", flags) as server:
        yield server


def alarms(log: Path) -> list[str]:
    """The records of a log that speak of a bug. What grpcio itself logs of header values that are not UTF-8 is none of
    ours, as long as no code of ours had a part in it."""
    records = RECORD.split(log.read_text(errors="replace"))
    found = [record for record in records if any(alarm in record for alarm in ALARMS)]
    return [record for record in found if "_cygrpc" not in record or "covey_server" in record]


def internal_errors(server: Server) -> int:
    """How many requests the server itself, by its metrics, has answered with INTERNAL."""
    assert server.metrics_url is not None
    samples = (
        sample for family in text_string_to_metric_families(fetch(server.metrics_url)) for sample in family.samples
    )
    return int(sum(sample.value for sample in samples if "INTERNAL" in sample.labels.values()))


class MemoryCurve:
    """Resident memory by how much of the run was done."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._samples: list[tuple[float, int]] = []

    def take(self, share: float) -> None:
        """Reads it now; `share` of the run, 0 to 1, is done."""
        self._samples.append((share, self._server.resident_bytes()))

    def median_bytes(self, low: float, high: float) -> float:
        """The median of the samples taken between two shares of the run."""
        return statistics.median(size for share, size in self._samples if low <= share <= high)

    @property
    def growth(self) -> float:
        """From the middle to the end: 0.05 is 5 %. The first half fills caches and pools: over HTTP 109 MB became 119
        within 100,000 requests, and stayed 119 to 120 for the next 100,000."""
        return self.median_bytes(0.95, 1.0) / self.median_bytes(0.50, 0.55) - 1
