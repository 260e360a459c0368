"""A caller of single images beside callers of thousands per call: how long it waits, and what they lose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench import samples
from bench.load import Caller, OpenLoad, open_load, put_load
from bench.processes import CALL_TIMEOUT_S, Server
from bench.raw_onnxruntime import RawOnnxruntime
from bench.rows import Goal, Row, make_row
from bench.run import Run

BULK_CALLERS = 2  # each with one call at a time
BULK_BYTES = 16 * 1024**2
RATE = 50.0  # single images a second, beside them
DEADLINE_MS = 200
_HEAD_START_S = 0.5  # of the bulk callers, and as much longer they send


def turns(run: Run, model: str, latency_goal: Goal, deadline_goal: Goal, bulk_goal: Goal) -> list[Row]:
    """Single images, Poisson arrivals, beside two callers of 16 MB calls, each in turn with and without deadlines."""
    images = samples.golden(RawOnnxruntime(run.models.file(model)))
    per_call = BULK_BYTES // images.pixels[0].nbytes
    bulk_message = samples.messages([samples.packed(model, images, per_call)])
    messages = samples.messages(samples.single_images(model, images))
    alone: list[float] = []
    beside: list[float] = []
    patient: list[OpenLoad] = []
    hurried: list[OpenLoad] = []
    with run.server([model]) as server:
        for number in run.each_round(f"{model}, turns"):
            with _bulk_load(server, bulk_message, per_call, 2 * run.seconds, alone):
                pass
            for timeout_s, loads in ((CALL_TIMEOUT_S, patient), (DEADLINE_MS / 1000, hurried)):
                seconds = 2 * run.seconds
                with (
                    _bulk_load(server, bulk_message, per_call, seconds + _HEAD_START_S, beside),
                    open_load(
                        server, messages, rate=RATE, seconds=seconds, timeout_s=timeout_s, seed=number
                    ) as running,
                ):
                    loads.append(running.finish())
    scenario = f"{model}, {RATE:g} single images/s beside {BULK_CALLERS} callers of {per_call:,} images per call"
    in_time = [100 * load.in_time(DEADLINE_MS) / max(load.calls.calls, 1) for load in hurried]
    against = "the same callers alone"
    return [
        make_row(scenario, "latency p50", "ms", [load.percentile_ms(50) for load in patient], goal=latency_goal),
        make_row(scenario, "latency p99", "ms", [load.percentile_ms(99) for load in patient]),
        make_row(scenario, f"answered within {DEADLINE_MS} ms", "% of calls", in_time, goal=deadline_goal),
        make_row(scenario, "bulk", "images/s", beside, alone, bulk_goal, against=against),
    ]


@contextmanager
def _bulk_load(
    server: Server, message: list[bytes], per_call: int, seconds: float, rates: list[float]
) -> Iterator[None]:
    """Bulk callers, each in a process of its own, while the block runs and until they are done."""

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(put_load, server, message, 1, seconds, Caller(processes=BULK_CALLERS))
        yield
        rates.append(per_call * calls.result().calls_per_s)
