"""The plan of a load test, checked, and the loads that follow from it. Sends nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from covey.errors import InvalidInput
from covey.security import TLS, Token
from covey_load.measurement import Load

MAX_PROCESSES = 64
MAX_CONNECTIONS = 10_000
DEFAULT_WARM_UP_S = 2.0
DEFAULT_SECONDS = 10.0
MAX_DURATION_S = 86_400.0  # each call's time is kept, 4 bytes: at 5,000 calls/s a day is 1.7 GB


class ProtocolName(StrEnum):
    COVEY = "covey"  # covey.v1.Classifier over gRPC
    HTTP = "http"  # the same over HTTP/1.1
    OIP = "oip"  # Open Inference Protocol over gRPC
    OIP_HTTP = "oip-http"  # the same over HTTP/1.1

    @property
    def is_http(self) -> bool:
        return self in (ProtocolName.HTTP, ProtocolName.OIP_HTTP)


class Arrival(StrEnum):
    """How the calls of the open loop are spread over time."""

    POISSON = "poisson"
    CONSTANT = "constant"
    RAMP = "ramp"


class Scenario(StrEnum):
    """Scenarios of MLPerf Inference, by its rules of July 2026. The 600 s they last there must be asked for."""

    SINGLE_STREAM = "single-stream"  # the next query when the one before is answered; 1 image; p90
    MULTI_STREAM = "multi-stream"  # the same with 8 images; p99
    SERVER = "server"  # Poisson arrivals; 1 image; 99 % within the bound
    OFFLINE = "offline"  # all images are there from the start; throughput


SCENARIO_IMAGES = {Scenario.SINGLE_STREAM: 1, Scenario.MULTI_STREAM: 8, Scenario.SERVER: 1, Scenario.OFFLINE: 64}
OFFLINE_IN_FLIGHT = 16  # calls of 64 images: the server never waits for the client


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. Raises InvalidInput for values out of range or options that exclude each other, by the names of
    the command line's options.

    A closed loop for each of `concurrencies`, or an open one for each of `rates` (calls per second), or for a `ramp`
    from one rate to another, or a search for the capacity, or what a `scenario` says: just one of these.
    `models` are weights by name; "" is the server's default model. `seconds` are measured after `warm_up_s` of the same
    load. `calls` measures that number of calls instead, however long they take, or until `seconds` are over where both
    are given. `connections`: None for as many as the protocol needs. `payload`: "random", "jpeg:WIDTHxHEIGHT", or the
    path of an .npy file `[N, H, W, C] uint8`, of an image file, or of a folder of image files.
    """

    target: str
    protocol: ProtocolName = ProtocolName.COVEY
    models: Mapping[str, float] = field(default_factory=lambda: {"": 1.0})
    concurrencies: tuple[int, ...] = ()
    rates: tuple[float, ...] = ()
    ramp: tuple[float, float] | None = None
    arrival: Arrival = Arrival.POISSON
    scenario: Scenario | None = None
    find_capacity: bool = False
    seconds: float | None = None
    calls: int | None = None
    warm_up_s: float = DEFAULT_WARM_UP_S
    repeat: int = 1
    images_per_call: int | None = None
    payload: str = "random"
    connections: int | None = None
    processes: int = 1
    deadline_ms: float = 10_000.0
    slo_ms: float | None = None
    seed: int = 0
    tls: TLS | bool | None = None
    token: Token = field(default="", repr=False)
    server_pid: int | None = None
    metrics_url: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_loads()

    @property
    def images(self) -> int:
        """The number of images in each call."""
        if self.images_per_call is not None:
            return self.images_per_call
        return SCENARIO_IMAGES[self.scenario] if self.scenario else 1

    @property
    def duration_s(self) -> float:
        """The longest time that is measured."""
        if self.seconds is not None:
            return self.seconds
        return math.inf if self.calls is not None else DEFAULT_SECONDS

    def loads(self) -> list[Load]:
        """A load for each step of a sweep, all of them again for each repetition. None for a capacity search."""
        if self.find_capacity:
            return []
        steps = [self.closed(concurrency) for concurrency in self._concurrencies()]
        steps += [self.open(rate) for rate in self.rates]
        if self.ramp is not None:
            first, last = self.ramp
            steps.append(self._load(f"{first:g}/s to {last:g}/s, ramp", None, (first + last) / 2, Arrival.RAMP))
        return [replace(step, repetition=repetition) for repetition in range(self.repeat) for step in steps]

    def closed(self, concurrency: int) -> Load:
        """The closed loop with so many calls in flight."""
        return self._load(f"concurrency {concurrency}", concurrency, None, None)

    def open(self, rate_per_s: float) -> Load:
        """The open loop with that rate."""
        arrival = Arrival.POISSON if self.scenario else self.arrival
        return self._load(f"{rate_per_s:g}/s {arrival}", None, rate_per_s, arrival)

    def _load(self, name: str, concurrency: int | None, rate_per_s: float | None, arrival: Arrival | None) -> Load:
        return Load(
            name=f"{self.scenario}: {name}" if self.scenario else name,
            loop="closed" if arrival is None else "open",
            concurrency=concurrency,
            rate_per_s=rate_per_s,
            arrival=arrival,
            scenario=self.scenario,
            images_per_call=self.images,
            warm_up_s=self.warm_up_s,
        )

    def _concurrencies(self) -> tuple[int, ...]:
        if self.scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM):
            return (1,)
        if self.scenario is Scenario.OFFLINE:
            return (OFFLINE_IN_FLIGHT,)
        return self.concurrencies

    def _check_numbers(self) -> None:
        _require(
            all(number >= 1 for number in self.concurrencies), "--concurrency", "of at least 1", self.concurrencies
        )
        _require(all(0 < number < math.inf for number in self.rates), "--rate", "above 0", self.rates)
        _require(
            self.ramp is None or all(0 < number < math.inf for number in self.ramp), "--ramp", "above 0", self.ramp
        )
        day = f"to {MAX_DURATION_S:g}, a day"
        _require(
            self.seconds is None or 0 < self.seconds <= MAX_DURATION_S, "--seconds", f"above 0 {day}", self.seconds
        )
        _require(self.calls is None or self.calls >= 1, "--calls", "of at least 1", self.calls)
        _require(0 <= self.warm_up_s <= MAX_DURATION_S, "--warm-up", f"of seconds, 0 {day}", self.warm_up_s)
        _require(self.seed >= 0, "--seed", "of 0 or more", self.seed)
        _require(self.server_pid is None or self.server_pid >= 1, "--server-pid", "above 0", self.server_pid)
        _require(self.repeat >= 1, "--repeat", "of at least 1", self.repeat)
        _require(self.images >= 1, "--images", "of at least 1", self.images)
        connections = self.connections
        most = MAX_CONNECTIONS
        _require(connections is None or 1 <= connections <= most, "--connections", f"from 1 to {most}", connections)
        _require(1 <= self.processes <= MAX_PROCESSES, "--processes", f"from 1 to {MAX_PROCESSES}", self.processes)
        _require(0 < self.deadline_ms < math.inf, "--deadline-ms", "above 0", self.deadline_ms)
        _require(self.slo_ms is None or 0 < self.slo_ms < math.inf, "--slo-ms", "above 0", self.slo_ms)
        weights = list(self.models.values())
        _require(
            bool(weights) and all(0 < number < math.inf for number in weights), "--model", "above 0 as weight", weights
        )

    def _check_loads(self) -> None:
        options = {
            "--concurrency": bool(self.concurrencies),
            "--rate": bool(self.rates),
            "--ramp": self.ramp is not None,
            "--find-capacity": self.find_capacity,
            f"--scenario {self.scenario}": self.scenario not in (None, Scenario.SERVER),
        }
        chosen = [name for name, is_given in options.items() if is_given]
        if len(chosen) > 1:
            raise InvalidInput(f"{' and '.join(chosen)} cannot go together: give one of them")
        if not chosen:
            if self.scenario is Scenario.SERVER:
                raise InvalidInput("--scenario server needs a rate: --rate R, or --find-capacity --slo-ms MS")
            raise InvalidInput("say what load to put on: --concurrency N, --rate R, --ramp R..R or --find-capacity")
        if self.scenario is Scenario.SERVER and chosen not in (["--rate"], ["--find-capacity"]):
            raise InvalidInput(f"--scenario server is an open loop: give --rate or --find-capacity, not {chosen[0]}")
        if self.find_capacity and self.slo_ms is None:
            raise InvalidInput("--find-capacity needs the bound that calls must keep: --slo-ms MS")
        if self.find_capacity and self.calls is not None:
            raise InvalidInput("--find-capacity tries rates for --seconds each: omit --calls")
        if self.ramp is not None and self.duration_s == math.inf:
            raise InvalidInput("--ramp needs a duration: give --seconds instead of --calls")
        if min((*self._concurrencies(), MAX_CONNECTIONS)) < self.processes:
            raise InvalidInput(f"{self.processes} processes need at least as many calls in flight: lower --processes")
        if self.slo_ms is not None and self.slo_ms > self.deadline_ms:
            raise InvalidInput(
                f"--slo-ms {self.slo_ms:g} is above --deadline-ms {self.deadline_ms:g}: no call lasts so long"
            )


def _require(holds: bool, option: str, expected: str, value: object) -> None:
    if not holds:
        if isinstance(value, tuple | list):
            value = ", ".join(f"{number:g}" for number in value)
        raise InvalidInput(f"{option} takes a number {expected}, not {value}")
