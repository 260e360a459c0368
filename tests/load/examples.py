"""Examples of reports, as the engine would make them, of figures that the tests choose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from covey_load.measurement import (
    SCHEMA,
    Generator,
    Interval,
    Latency,
    Load,
    Report,
    Run,
    ServerMetrics,
    ServerProcess,
    ServerTiming,
)

ALL_PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def latency(median_ms: float, count: int = 100_000, reach: float = 99.9) -> Latency:
    """An exponential tail above half of the median; percentiles up to `reach`."""

    def at(percentile: float) -> float:
        return median_ms / 2 * (1 - math.log2(1 - percentile / 100))

    curve = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9]
    return Latency(
        count=count,
        mean_ms=at(60),
        min_ms=median_ms / 2,
        max_ms=at(99.999),
        percentiles_ms={f"{percentile:g}": at(percentile) for percentile in ALL_PERCENTILES if percentile <= reach},
        p99_interval_ms=(at(98.9), at(99.1)) if reach >= 99 else None,
        curve_ms=[(percentile, at(percentile)) for percentile in curve if percentile <= reach],
        histogram="",
    )


NOTHING = Latency(0, 0.0, 0.0, 0.0, {}, None, [], "")


def load(concurrency: int = 8, **changes: Any) -> Load:
    default = Load(f"concurrency {concurrency}", "closed", concurrency, None, None, None, 1, 1.0)
    return replace(default, **changes)


def open_load(rate_per_s: float, **changes: Any) -> Load:
    default = Load(f"{rate_per_s:,.0f}/s poisson", "open", None, rate_per_s, "poisson", None, 1, 1.0)
    return replace(default, **changes)


def timing(
    outside: float = 0.4, decode: float = 0.0, queue: float = 0.5, compute: float = 0.6, batch_size: int = 5
) -> ServerTiming:
    stages = {"decode": decode, "queue": queue, "compute": compute, "total": decode + queue + compute}
    stages["outside"] = outside
    return ServerTiming(stages, {name: 3 * value for name, value in stages.items()}, {1: 10, batch_size: 990})


def run(p50_ms: float = 1.5, calls_per_s: float = 5_000.0, **changes: Any) -> Run:
    """Five seconds of a closed loop; `other` replaces fields."""
    seconds = 5
    calls = int(calls_per_s * seconds)
    default = Run(
        load=load(),
        seconds=float(seconds),
        calls=calls,
        images=calls,
        errors={},
        calls_per_s=calls_per_s,
        images_per_s=calls_per_s,
        goodput_per_s=None,
        response=latency(p50_ms),
        service=latency(p50_ms),
        lag=latency(0.001),
        intervals=[
            Interval(float(second), calls // seconds, 0, p50_ms, 4 * p50_ms, 8 * p50_ms) for second in range(seconds)
        ],
        timing=timing(),
        generator=Generator(1, 2, 30.0, 0.4),
        server_process=ServerProcess(4242, 48.6, 0.9, 98_100_000, "covey-server"),
        metrics=ServerMetrics(calls + 1_000, calls + 1_000, 4.9, {}),
    )
    return replace(default, **changes)


def sweep(concurrencies: tuple[int, ...] = (1, 8, 64)) -> list[Run]:
    """Throughput grows more and more slowly, latency more and more quickly."""
    return [
        run(
            0.3 + 0.05 * concurrency,
            25_000 * concurrency / (concurrency + 12),
            load=load(concurrency),
            timing=timing(queue=0.02 * concurrency, batch_size=max(2, concurrency // 2)),
        )
        for concurrency in concurrencies
    ]


def report(*runs: Run, **changes: Any) -> Report:
    default = Report(
        schema=SCHEMA,
        covey_version="0.1.0",
        started_at="2026-11-22T07:00:00+00:00",
        command="covey load localhost:8001",
        machine={"cpu": "a processor", "cores": "2", "system": "Linux", "python": "3.11.7"},
        target="localhost:8001",
        protocol="covey",
        models={"": 1.0},
        payload="28 x 28 x 1 pixels, random; 784 bytes an image",
        slo_ms=None,
        seed=1,
        server={"version": "0.1.0", "model": "lenet", "device": "cpu"},
        runs=list(runs),
    )
    return replace(default, **changes)
