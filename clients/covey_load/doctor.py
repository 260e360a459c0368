"""Says in plain words what limits a deployment, from two runs: one call in flight, and many. Only rules; sends nothing.

Each rule is a function of the two runs that answers a sentence with its figures, or None where it has nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from covey_load.measurement import Run
from covey_load.observation import Front
from covey_load.reports import words
from covey_load.reports.facts import STAGES
from covey_load.reports.figures import batch_size, error_share
from covey_load.reports.words import number

BUSY_CLIENT = 0.9  # of a core: from there on its own waiting is in the figures
BUSY_SERVER = 0.8  # of all cores
IDLE_SERVER = 0.5  # of all cores: below, work that waits does not wait for a processor
LITTLE_GAIN = 1.5  # times as many calls a second with many in flight as with one
SHORT_COMPUTE_MS = 1.0  # of a batch: up to here the server runs batches on the thread that receives calls
NO_BATCHING = 1.5  # mean batch size up to which batches hardly form


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that rules look at: `alone` had one call in flight, `loaded` many, on a machine with that many cores."""

    alone: Run
    loaded: Run
    cores: int
    front: Front = Front.UNKNOWN
    tls: bool = False

    @property
    def in_flight(self) -> int:
        return self.loaded.load.concurrency or 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit: "client", "front", "network", "decode", "queue", "compute", or UNKNOWN; and a sentence with its
    figures."""

    part: str
    sentence: str


Rule = Callable[[Runs], str | None]

UNKNOWN = "not to be told"
_UNTOLD = "the client was not busy, and this server's answers do not say where the time of a call goes"
_OUTSIDE = (
    "network, kernel and the protocol on both ends. Put more images into a call, or bring client and server closer; on "
    "one machine the two share its cores"
)
_STAGES = {  # what limits, and in what words, where that stage is the longest
    "outside": ("network", _OUTSIDE),
    "decode": ("decode", "reading the image files. Send them smaller (downscale=True), or send pixels"),
    "queue": (
        "queue",
        "waiting for a batch to begin: more arrives at once than is computed, and still more would wait",
    ),
    "compute": ("compute", "the network itself. A smaller one or an int8 variant, more cores or a GPU would help"),
}


def limit(runs: Runs) -> Limit:
    """The limit of the throughput: the client, where it was busy; else the longest part of a call under load."""
    return client(runs) or longest_stage(runs) or Limit(UNKNOWN, _UNTOLD)


def others(runs: Runs) -> list[str]:
    """Other sentences on the two runs."""
    return [sentence for rule in _OTHERS if (sentence := rule(runs))]


def client(runs: Runs) -> Limit | None:
    """Whether the load generator had no time left."""
    generator = runs.loaded.generator
    if generator.busiest_core_share < BUSY_CLIENT:
        return None
    return Limit(
        "client",
        f"the load generator used {generator.busiest_core_share:.0%} of a core, {number(generator.cpu_us_per_call)} us "
        f"a call: it cannot ask for more, and the server may be able to do more. Use more processes, or another "
        f"machine",
    )


def longest_stage(runs: Runs) -> Limit | None:
    """The part of a call that takes most of its time with many in flight."""
    timing = runs.loaded.timing
    if timing is None:
        return None
    stage = max(STAGES, key=lambda name: timing.mean_ms.get(name, 0.0))
    part, meaning = _STAGES[stage]
    if stage == "outside" and (costly := _costly_front(runs)) is not None:
        part, meaning = costly
    length_ms, all_ms = timing.mean_ms.get(stage, 0.0), _service_ms(timing.mean_ms)
    return Limit(
        part,
        f"with {runs.in_flight} in flight, {number(length_ms)} of a call's {number(all_ms)} ms are {meaning}",
    )


def _costly_front(runs: Runs) -> tuple[str, str] | None:
    """The front as what limits, and why, where the way to the server is the longest part of a call and another front
    would cost less; else None."""
    if runs.front is Front.GRPCIO:
        front = "grpcio front, TLS included," if runs.tls else "grpcio front"
        instead = "--front native, and a proxy before it that ends TLS" if runs.tls else "--front native"
        return "front", (
            f"outside of decoding, queue and computing: the server's {front} needs several times the processor time a "
            f"call that the native one does. Use {instead} (docs/security.md)"
        )
    if runs.tls:
        return "front", (
            "outside of decoding, queue and computing, where TLS is encrypted and decrypted at both ends, by a proxy "
            "or the server. Put more images into a call, or give the end of TLS more cores"
        )
    return None


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
    return f"a call by itself takes {number(_service_ms(timing.mean_ms))} ms: {stages}"


def lone_batches(runs: Runs) -> str | None:
    """That one call in flight cannot form batches: nothing is wrong with the server."""
    size = batch_size(runs.alone.timing) if runs.alone.timing else None
    if size is None or size > NO_BATCHING:
        return None
    return f"average batch {size:.1f}: only one request was in flight"


def batches(runs: Runs) -> str | None:
    """How large batches were with many in flight."""
    size = batch_size(runs.loaded.timing) if runs.loaded.timing else None
    if size is None:
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
    if not alone:
        return None
    only = "only " if loaded / alone < LITTLE_GAIN else ""
    return (
        f"{runs.in_flight} in flight were answered {only}{number(loaded / alone)} times as fast as one: "
        f"{number(loaded)} calls/s against {number(alone)}"
    )


def processor(runs: Runs) -> str | None:
    """Whether the server had the machine's cores in use."""
    process = runs.loaded.server_process
    if process is None or process.cores_used is None:
        return None
    usage = f"the server used {number(process.cores_used)} of {words.plural(runs.cores, 'core')}"
    share = process.cores_used / runs.cores
    if share >= BUSY_SERVER:
        return f"{usage}: the processor is full, and faster answers need more of it"
    longest = longest_stage(runs)
    if share < IDLE_SERVER and longest and longest.part == "queue":
        return f"{usage} while calls waited: more workers (--workers) may use the others"
    if share < IDLE_SERVER and longest and longest.part in ("network", "front"):
        return f"{usage}: if the others were not idle, calls waited for what else runs there"
    return usage


def interpreter(runs: Runs) -> str | None:
    """Whether one process with small models can use only few of many cores."""
    process, timing = runs.loaded.server_process, runs.loaded.timing
    if process is None or process.cores_used is None or timing is None or client(runs) is not None:
        return None
    is_limited = 1.0 <= process.cores_used < IDLE_SERVER * runs.cores
    if not is_limited or timing.mean_ms.get("compute", math.inf) > SHORT_COMPUTE_MS:
        return None
    processes = min(runs.cores, round(runs.cores / process.cores_used))
    return (
        f"a batch takes only {number(timing.mean_ms['compute'])} ms: one process's interpreter may be the limit. If it "
        f"is Covey's, try covey-server --processes {processes}; callers need several connections then"
    )


def failures(runs: Runs) -> str | None:
    """Which calls failed."""
    failed = [
        f"{words.share(error_share(run))} with {run.load.concurrency} in flight ({words.counts(run.errors)})"
        for run in (runs.alone, runs.loaded)
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


_OTHERS: tuple[Rule, ...] = (lone_call, lone_batches, batches, gain, processor, interpreter, front, failures, counts)


def _service_ms(mean_ms: dict[str, float]) -> float:
    return mean_ms.get("outside", 0.0) + mean_ms.get("total", 0.0)
