"""What limits the throughput of a deployment, from two runs: one call in flight, and many. Only rules; sends nothing.

Each gives the limit with a sentence that has its figures, or None where it has nothing to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from covey_load.measurement import Run
from covey_load.observation import Front
from covey_load.reports import words
from covey_load.reports.facts import STAGES
from covey_load.reports.words import number

BUSY_CLIENT = 0.9  # of a core: from there on its own waiting is in the figures
BUSY_SERVER = 0.8  # of the cores that it may use
FEW_REFUSED = 0.01  # of the calls: up to here the server's own limits are not what bounds it


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs that rules look at: `alone` had one call in flight, `loaded` many; one and the same where many were not
    tried. The server may use so many `cores`, 0.5 being half of one. The `caller` is known by a "token" or a
    "certificate"; "caller" for neither. `refusal` is what the server said to a call that it refused, if that was
    asked."""

    alone: Run
    loaded: Run
    cores: float
    front: Front = Front.UNKNOWN
    tls: bool = False
    caller: str = "caller"
    refusal: str = ""

    @property
    def each(self) -> tuple[Run, ...]:
        return (self.alone,) if self.loaded is self.alone else (self.alone, self.loaded)

    @property
    def in_flight(self) -> int:
        return self.loaded.load.concurrency or 0


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit: "token's limit" and the like, "server's limits", LIMITS, "client", "front", "processor", "network",
    "decode", "queue", "compute", or UNKNOWN; and a sentence with its figures."""

    part: str
    sentence: str


UNKNOWN = "not to be told"
LIMITS = "limits on calls"  # of whom is not known
_OF_THE_CALLER = re.compile(  # what a server says of a limit of the caller (covey_server.batching.limits)
    r"may send \S+ (?:requests|images) per second|calls of .+ are unanswered, as many as it may have"
)
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
    """The limit of the throughput: what calls were refused for; the client, where it was busy; else the longest part of
    a call under load."""
    return refusals(runs) or client(runs) or longest_stage(runs) or Limit(UNKNOWN, _UNTOLD)


def is_held_by_a_limit(run: Run) -> bool:
    """Whether calls were refused for a limit of their caller, or might have been: more calls would only be refused."""
    return bool(_refused(run)) and (run.metrics is None or bool(run.metrics.limited))


def refusals(runs: Runs) -> Limit | None:
    """The limit that calls were refused for. Calls that are refused say nothing of network and server."""
    run = next((run for run in reversed(runs.each) if _refused(run)), None)
    if run is None:
        return None
    metrics, refused_share = run.metrics, _refused(run) / run.calls
    said = f"{words.share(refused_share)} of the calls with {run.load.concurrency} in flight were refused"
    answered = f"{number(run.calls_per_s)} calls/s were answered, and the server may be able to do more"
    raise_it = "Raise the limit, or measure with a token or certificate that has none"
    if metrics is None:
        if _OF_THE_CALLER.search(runs.refusal):
            return Limit(f"{runs.caller}'s limit", f'{said}: "{runs.refusal}"; {answered}. {raise_it}')
        if runs.refusal:
            return Limit("server's limits", f'{said}: "{runs.refusal}"; {answered}')
        return Limit(
            LIMITS,
            f"{said}, for a limit of the {runs.caller} (--limits-file) or one of the server's own; {answered}. The "
            f"server's metrics say which, and cannot be read here: give their address (--metrics-url)",
        )
    if metrics.limited:
        limits = " or ".join(map(_limit_in_words, metrics.limited))
        return Limit(
            f"{runs.caller}'s limit", f"{said}, for {limits} in the server's limits file; {answered}. {raise_it}"
        )
    if not metrics.refused:
        return Limit(LIMITS, f"{said}, but not by the server, which counts none: by a proxy before it; {answered}")
    if refused_share <= FEW_REFUSED:
        return None
    return Limit(
        "server's limits", f"{said}; the server counts {words.counts(metrics.refused)} (docs/metrics.md says of what)"
    )


def _refused(run: Run) -> int:
    return sum(run.errors.get(code, 0) for code in ("RESOURCE_EXHAUSTED", "HTTP 429"))


def _limit_in_words(limited: str) -> str:
    """`nightly/images_per_s` as "images_per_s of [nightly]"."""
    table, _, limit = limited.rpartition("/")
    return f"{limit} of [{'default' if table == 'other' else table}]"


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
    if stage == "outside" and (other := _costly_front(runs) or _full_processor(runs)) is not None:
        part, meaning = other
    length_ms, all_ms = timing.mean_ms.get(stage, 0.0), service_ms(timing.mean_ms)
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


def _full_processor(runs: Runs) -> tuple[str, str] | None:
    """The server's processor as what limits, and why, where calls wait for it before the server reads them; else
    None."""
    used = cores_used(runs.loaded)
    if used is None or used / runs.cores < BUSY_SERVER:
        return None
    return "processor", (
        f"outside of decoding, queue and computing, while the server used {of_its_cores(used, runs)}: calls wait for "
        f"its processor before they are read. Give it more cores, or put more images into a call"
    )


def cores_used(run: Run) -> float | None:
    """Of the server: seen from outside where it runs on this machine, else by its own count."""
    if run.server_process is not None and run.server_process.cores_used is not None:
        return run.server_process.cores_used
    return run.metrics.cores_used if run.metrics is not None else None


def of_its_cores(used: float, runs: Runs) -> str:
    """`0.970 of the 1 core that it may use`."""
    return f"{number(used)} of the {runs.cores:g} {'core' if runs.cores <= 1 else 'cores'} that it may use"


def service_ms(mean_ms: dict[str, float]) -> float:
    """All of a call's time but what it waited to be sent."""
    return mean_ms.get("outside", 0.0) + mean_ms.get("total", 0.0)
