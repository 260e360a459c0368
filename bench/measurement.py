"""Owns the plan: which load runs on which server, round after round, and the rows that come of it.

Floors and servers take turns within every round, so that a busy neighbour slows both; the median of the
rounds is reported. Before the first round each is warmed up by a load that does not count.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Server, put_load
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Row, make_row

MANY = 64  # calls in flight
BATCH_SIZES = (1, 8, 32, 64)
FLOOR_BATCH_SIZE = 32
# Issue 2, line 6: server CPU / (echo + onnxruntime).
CPU_TARGET = 2.5


@dataclass(frozen=True)
class Subjects:
    """What is measured: the two floors and the server on both of its fronts."""

    echo: Server
    onnxruntime: RawOnnxruntime
    native: Server
    grpcio: Server

    @property
    def servers(self) -> tuple[Server, ...]:
        """All that load can be put on."""
        return self.echo, self.native, self.grpcio


class Samples:
    """Values of every figure, one per round."""

    def __init__(self) -> None:
        self._values: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)

    def add(self, value: float, *figure: str) -> None:
        """Adds this round's value of a figure."""
        self._values[figure].append(value)

    def get(self, *figure: str) -> list[float]:
        """All rounds, in order. A figure nobody added is a bug."""
        return list(self._values[figure])


def measure(
    subjects: Subjects, messages: Path, rounds: int, seconds: float, report: Callable[[str], None]
) -> list[Row]:
    """Runs all rounds; `seconds` is the length of one load. `report` is told what is going on."""
    report("warming up")
    for server in subjects.servers:
        put_load(server, messages, MANY, seconds / 2)
    samples = Samples()
    for index in range(rounds):
        report(f"round {index + 1} of {rounds}")
        for batch_size in BATCH_SIZES:
            samples.add(subjects.onnxruntime.cpu_us_per_image(batch_size), "onnxruntime", str(batch_size))
        for server in subjects.servers:
            _sample_load(samples, server, messages, MANY, seconds)
        for server in (subjects.echo, subjects.native):
            _sample_load(samples, server, messages, 1, seconds / 2)
    return _rows(samples, subjects)


def _sample_load(samples: Samples, server: Server, messages: Path, in_flight: int, seconds: float) -> None:
    batches_start, images_start = server.batches()
    cpu_start = server.cpu_seconds()  # after the scrape above and before the one below: they cost CPU too
    result = put_load(server, messages, in_flight, seconds)
    cpu = server.cpu_seconds() - cpu_start
    batches, images = server.batches()
    key = (server.name, str(in_flight))
    samples.add(cpu * 1e6 / result.calls, *key, "cpu")
    samples.add(result.calls_per_second, *key, "rate")
    samples.add(result.latency_p50_us, *key, "p50")
    samples.add(result.latency_p99_us, *key, "p99")
    samples.add(result.generator_cpu_us_per_call, *key, "generator")
    if batches > batches_start:
        samples.add((images - images_start) / (batches - batches_start), *key, "batch")


def _rows(samples: Samples, subjects: Subjects) -> list[Row]:
    many, one = str(MANY), "1"
    echo, native, grpcio = (server.name for server in subjects.servers)
    echo_cpu = samples.get(echo, many, "cpu")
    best_batch = samples.get("onnxruntime", str(FLOOR_BATCH_SIZE))
    cpu_floor = _sum(echo_cpu, best_batch)
    latency_floor = _sum(samples.get(echo, one, "p50"), samples.get("onnxruntime", "1"))
    native_cpu, grpcio_cpu = samples.get(native, many, "cpu"), samples.get(grpcio, many, "cpu")
    rows = [
        make_row("floor: onnxruntime alone, 1 thread", f"CPU, batch {size}", "us/image", values)
        for size in BATCH_SIZES
        for values in [samples.get("onnxruntime", str(size))]
    ]
    rows += [
        make_row(f"floor: echo, {many} in flight", "server CPU", "us/request", echo_cpu),
        make_row(f"floor: echo, {many} in flight", "generator CPU", "us/request", samples.get(echo, many, "generator")),
        make_row("floor: echo, 1 in flight", "latency p50", "us", samples.get(echo, one, "p50")),
    ]
    for server, target in ((native, CPU_TARGET), (grpcio, None)):
        scenario = f"{server}, {many} in flight"
        rows += [
            make_row(scenario, "server CPU", "us/request", samples.get(server, many, "cpu"), cpu_floor, target),
            make_row(scenario, "throughput", "requests/s", samples.get(server, many, "rate")),
            make_row(scenario, "latency p50", "us", samples.get(server, many, "p50")),
            make_row(scenario, "latency p99", "us", samples.get(server, many, "p99")),
            make_row(scenario, "mean batch", "images", samples.get(server, many, "batch")),
        ]
    rows += [
        make_row("grpcio front / native front", "server CPU", "us/request", grpcio_cpu, native_cpu),
        make_row(f"{native}, 1 in flight", "latency p50", "us", samples.get(native, one, "p50"), latency_floor),
        make_row(f"{native}, 1 in flight", "latency p99", "us", samples.get(native, one, "p99")),
        make_row(f"{native}, 1 in flight", "server CPU", "us/request", samples.get(native, one, "cpu")),
    ]
    return rows


def _sum(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(first, second, strict=True)]
