"""Says in plain words what two runs show of a deployment, one call in flight and many: what `bottleneck` does not say.
Only rules; sends nothing.

Each rule is a function of the two runs that answers a sentence with its figures, or None where it has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from covey_load.bottleneck import (
    BUSY_SERVER,
    Runs,
    client,
    cores_used,
    longest_stage,
    of_its_cores,
    refusals,
    service_ms,
)
from covey_load.observation import Front
from covey_load.reports import words
from covey_load.reports.facts import STAGES
from covey_load.reports.figures import batch_size, error_share
from covey_load.reports.words import number

IDLE_SERVER = 0.5  # of the cores that it may use: below, work that waits does not wait for a processor
LITTLE_GAIN = 1.5  # times as many calls a second with many in flight as with one
SHORT_COMPUTE_MS = 1.0  # of a batch: up to here the server runs batches on the thread that receives calls
NO_BATCHING = 1.5  # mean batch size up to which batches hardly form

Rule = Callable[[Runs], str | None]


def others(runs: Runs) -> list[str]:
    """Other sentences on the two runs."""
    return [sentence for rule in _OTHERS if (sentence := rule(runs))]


def front(runs: Runs) -> str | None:
    """Whether the front costs more than the other one would, where it is not the limit."""
    longest = longest_stage(runs)
    if runs.front is not Front.GRPCIO or (longest is not None and longest.part == "front"):
        return None
    return (
        f"the server answers by gRPC's C core, as Covey's grpcio front does{' with TLS' if runs.tls else ''}: it needs "
        f"several times the processor time a call that --front native does"
    )


def lone_call(runs: Runs) -> str | None:
    """Where the time of a single call goes."""
    timing = runs.alone.timing
    if timing is None:
        return None
    stages = ", ".join(f"{stage} {number(timing.mean_ms.get(stage, 0.0))}" for stage in STAGES)
    return f"a call by itself takes {number(service_ms(timing.mean_ms))} ms: {stages}"


def lone_batches(runs: Runs) -> str | None:
    """That one call in flight cannot form batches: nothing is wrong with the server."""
    size = batch_size(runs.alone.timing) if runs.alone.timing else None
    if size is None or size > NO_BATCHING:
        return None
    return f"average batch {size:.1f}: only one request was in flight"


def batches(runs: Runs) -> str | None:
    """How large batches were with many in flight."""
    size = batch_size(runs.loaded.timing) if runs.loaded.timing else None
    if size is None or len(runs.each) < 2:
        return None
    if size > NO_BATCHING:
        return f"average batch {size:.1f} with {runs.in_flight} in flight: requests do share batches"
    return (
        f"average batch {size:.1f} although {runs.in_flight} were in flight: the server does not put them together, or "
        f"its measured curve says that this model gains nothing by it (`covey info`)"
    )


def gain(runs: Runs) -> str | None:
    """How far throughput grows with the load."""
    alone, loaded = runs.alone.calls_per_s, runs.loaded.calls_per_s
    if not alone or len(runs.each) < 2:
        return None
    only = "only " if loaded / alone < LITTLE_GAIN else ""
    return (
        f"{runs.in_flight} in flight were answered {only}{number(loaded / alone)} times as fast as one: "
        f"{number(loaded)} calls/s against {number(alone)}"
    )


def processor(runs: Runs) -> str | None:
    """Whether the server had the cores that it may use in use."""
    used = cores_used(runs.loaded)
    if used is None:
        return None
    usage = f"the server used {of_its_cores(used, runs)}"
    share = used / runs.cores
    if share >= BUSY_SERVER:
        return f"{usage}: the processor is full, and faster answers need more of it"
    longest = None if refusals(runs) else longest_stage(runs)
    if share < IDLE_SERVER and longest and longest.part == "queue":
        return f"{usage} while calls waited: more workers (--workers) may use the others"
    if share < IDLE_SERVER and longest and longest.part in ("network", "front"):
        return f"{usage}: if the others were not idle, calls waited for what else runs there"
    return usage


def interpreter(runs: Runs) -> str | None:
    """Whether one process with small models can use only few of many cores."""
    used, timing = cores_used(runs.loaded), runs.loaded.timing
    if used is None or timing is None or client(runs) is not None or refusals(runs) is not None:
        return None
    is_limited = 1.0 <= used < IDLE_SERVER * runs.cores
    if not is_limited or timing.mean_ms.get("compute", math.inf) > SHORT_COMPUTE_MS:
        return None
    processes = min(int(runs.cores), round(runs.cores / used))
    return (
        f"a batch takes only {number(timing.mean_ms['compute'])} ms: one process's interpreter may be the limit. If it "
        f"is Covey's, try covey serve --processes {processes}; callers need several connections then"
    )


def left_out(runs: Runs) -> str | None:
    """Why many calls in flight were not tried."""
    if len(runs.each) > 1:
        return None
    return "more calls in flight were not tried, as one alone was refused already"


def failures(runs: Runs) -> str | None:
    """Which calls failed."""
    failed = [
        f"{words.share(error_share(run))} with {run.load.concurrency} in flight ({words.counts(run.errors)})"
        for run in runs.each
        if run.errors
    ]
    return f"calls failed: {', '.join(failed)}" if failed else None


def counts(runs: Runs) -> str | None:
    """Whether server and client counted the same calls."""
    metrics = runs.loaded.metrics
    if metrics is None or metrics.requests == metrics.client_calls:
        return None
    return (
        f"the server counted {words.plural(metrics.requests, 'request')}, the client {metrics.client_calls:,}: others "
        f"use it too, or several servers share the load"
    )


_OTHERS: tuple[Rule, ...] = (
    *(left_out, lone_call, lone_batches, batches, gain),
    *(processor, interpreter, front, failures, counts),
)
