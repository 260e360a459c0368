"""The results of a load test: plain values with the names of the JSON file. No arithmetic and no drawing here.

A Report holds one Run, or one for each step of a sweep and for each repetition. Latencies are in milliseconds:
*response* time counts from the moment a call was meant to be sent, *service* time from the moment it was really sent,
and *lag* is the difference. In a closed loop a call is meant to be sent when the one before it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SCHEMA = 1
BY_CTRL_C = "by Ctrl-C"  # as Report.interrupted has it


@dataclass(frozen=True, slots=True)
class Latency:
    """A distribution of times.

    `percentiles_ms` holds only those that the number of samples supports, by their names ("50", "99.9").
    `p99_interval_ms` is a 95 % confidence interval of the 99th, of response times only, where the run was long and even
    enough for one (covey_load.distribution). `curve_ms` are points (percentile, ms) for drawing,
    as far as the samples reach. `histogram` is an HdrHistogram of microseconds, in its own compressed encoding.
    """

    count: int
    mean_ms: float
    min_ms: float
    max_ms: float
    percentiles_ms: dict[str, float]
    p99_interval_ms: tuple[float, float] | None
    curve_ms: list[tuple[float, float]]
    histogram: str


@dataclass(frozen=True, slots=True)
class Interval:
    """One second of a run, by the moment its calls were meant to be sent. `p50_ms` and the others are response times;
    None where no call succeeded."""

    start_s: float
    calls: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class ServerTiming:
    """What the answers themselves say of the time inside the server: means and 99th percentiles, in ms.

    `batch_sizes` counts calls by the size of the batch that served them.
    """

    mean_ms: dict[str, float]  # "decode", "queue", "compute", "total"; and "outside": service time less total
    p99_ms: dict[str, float]
    batch_sizes: dict[int, int]


@dataclass(frozen=True, slots=True)
class Generator:
    """The costs of the load generator itself. `busiest_core_share` is that of its busiest process, 1.0 for a whole
    core.

    `real_time`: all its processes had real-time priority, which an open loop takes where the user may have it.
    """

    processes: int
    connections: int
    cpu_us_per_call: float
    busiest_core_share: float
    real_time: bool = False


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The server's process, seen from outside, where it runs on this machine. `name` is its program's; its CPU figures
    are None where it needed too little in the time of the run to tell."""

    pid: int
    cpu_us_per_call: float | None
    cores_used: float | None
    peak_memory_bytes: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """The server's own counters, as they grew during the run, and the processor time that it may use.

    `limited` are those of `refused` that a limit of their caller refused, by the table of the server's limits file and
    the limit: "nightly/images_per_s"; "other" is its [default].
    """

    requests: int  # answered, by the server's count; `client_calls` is ours for the same time, warm-up included
    client_calls: int
    mean_batch_size: float | None
    refused: dict[str, int]
    limited: dict[str, int] = field(default_factory=dict)
    cores_used: float | None = None
    usable_cores: float | None = None  # 0.5 is half of one; None where the server does not say


@dataclass(frozen=True, slots=True)
class Load:
    """The load of one run. `scenario` is MLPerf's name where one was given."""

    name: str  # "concurrency 8", "500/s poisson"
    loop: str  # "closed" or "open"
    concurrency: int | None
    rate_per_s: float | None
    arrival: str | None  # "poisson", "constant", "ramp"
    scenario: str | None
    images_per_call: int
    warm_up_s: float
    repetition: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One load and what came of it. `invalid` says why its figures must not be believed; empty where they may be.

    `calls` are those that were meant to be sent in the run. The rates are of answers that came in its `seconds`, be
    they to calls of the warm-up. `goodput_per_s` is of calls answered within the bound, `calls_within_slo` the number
    of such among `calls`; None where no bound was given.
    """

    load: Load
    seconds: float
    calls: int
    images: int
    errors: dict[str, int]  # by gRPC code name or HTTP status
    calls_per_s: float  # that succeeded
    images_per_s: float
    goodput_per_s: float | None
    response: Latency
    service: Latency
    lag: Latency
    intervals: list[Interval]
    timing: ServerTiming | None
    generator: Generator
    server_process: ServerProcess | None
    metrics: ServerMetrics | None
    invalid: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    calls_within_slo: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a run stands while it lasts: for the live display, in no file. Counts and percentiles are of all that was
    measured so far, `recent_per_s` of the last moments."""

    load: Load
    warming_up: bool
    elapsed_s: float  # of the measured part; while warming up, of the warm-up
    planned_s: float | None  # None where a number of calls was asked for
    calls: int
    errors: int
    recent_per_s: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Capacity:
    """The answer of --find-capacity: the highest Poisson rate whose share of calls within the bound held."""

    rate_per_s: float | None  # None where not even the lowest rate held
    slo_ms: float
    share: float
    tried: list[tuple[float, float]]  # (rate, share of calls within the bound), in order
    # Why the next higher rate was invalid, where it was: then it is the load generator's limit, and the server's is
    # higher. Or that the search ended early. Where no rate held: why lower ones were not tried.
    limited_by: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole load test."""

    schema: int
    covey_version: str
    started_at: str  # ISO 8601, UTC
    command: str
    machine: dict[str, str]  # "cpu", "cores", "system", "python"
    target: str
    protocol: str  # "covey", "http", "oip", "oip-http"
    models: dict[str, float]  # weight by name; "" is the server's default
    payload: str  # in words: "28 x 28 x 1 pixels, random; 784 bytes an image"
    slo_ms: float | None
    seed: int
    server: dict[str, str]  # what the server says of itself: "version", "device", "model", ...; empty where unknown
    runs: list[Run]
    capacity: Capacity | None = None
    remarks: list[str] = field(default_factory=list)  # what to know of all runs
    interrupted: str = ""  # why it ended early: BY_CTRL_C, or "the server went away: ..."
