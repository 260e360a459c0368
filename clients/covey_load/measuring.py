"""Runs one load at a time: gives orders to the generator processes, collects statistics of the results, observes the
server."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from covey_load.channel import Ended, Order
from covey_load.measurement import Load, Run, ServerProcess, Snapshot
from covey_load.observation import MetricsWatch, ProcessWatch
from covey_load.plan import Arrival, Plan
from covey_load.processes import Generators
from covey_load.run_statistics import RunStatistics
from covey_load.timings import ReadTiming
from covey_load.wire.frames import Request
from covey_load.wire.http1 import HttpRequest
from covey_load.wire.sockets import Endpoint

_SNAPSHOT_EVERY_S = 0.5
_OPEN_CONNECTIONS = 4  # of gRPC: each may have about a thousand calls open
_OPEN_HTTP_CONNECTIONS = 128  # of one call each
_MAX_CLOSED_CONNECTIONS = 4

OnProgress = Callable[[Snapshot], object]


@dataclass(frozen=True, slots=True)
class PreparedRequests:
    """The requests of all loads of a plan, and their target. `sequence` are indices into `requests`, by the models'
    weights."""

    endpoint: Endpoint
    requests: list[Request] | list[HttpRequest]
    sequence: list[int]
    calls_per_connection: int | None
    read_timing: ReadTiming | None


class Measuring:
    """Runs one load after the other on the same generator processes. `stop` ends the current one and all later ones."""

    def __init__(self, plan: Plan, prepared: PreparedRequests, generators: Generators, on_progress: OnProgress) -> None:
        self.stopped = False
        self.failure = ""  # why a load could not be carried to its end
        self._plan = plan
        self._prepared = prepared
        self._generators = generators
        self._on_progress = on_progress
        self._statistics: RunStatistics | None = None

    def stop(self) -> None:
        self.stopped = True
        if self._statistics is not None:
            self._statistics.stop()
        self._generators.stop()

    def measure(self, load: Load, seconds: float, pid: int | None, metrics_url: str | None) -> Run:
        """Measures for at most `seconds` after the load's warm-up. A `failure` or `stop` ends it early, and what was
        measured until then counts."""
        calls = self._plan.calls
        if calls is not None and load.warm_up_s:
            # An order counts its calls from the first one, so the warm-up gets an order of its own.
            warm_up = replace(load, name=f"{load.name}, to warm up", warm_up_s=0.0)
            self._carry_out(warm_up, load.warm_up_s, None, None, None)
        measured = load if calls is None else replace(load, warm_up_s=0.0)
        return replace(self._carry_out(measured, seconds, calls, pid, metrics_url), load=load)

    def _carry_out(
        self, load: Load, seconds: float, calls: int | None, pid: int | None, metrics_url: str | None
    ) -> Run:
        orders = self._orders(load, seconds, calls)
        statistics = RunStatistics(load, seconds, len(orders), self._plan.slo_ms, self._prepared.read_timing)
        self._statistics = statistics
        metrics = MetricsWatch(metrics_url)
        ticker = _Ticker(statistics, ProcessWatch(pid), self._on_progress, warms_up=load.warm_up_s > 0)
        cpu_s = time.process_time()
        ends: list[Ended] = []
        if not self.stopped:
            ends = self._generators.run(orders, ticker.begin, statistics.take, ticker.tick)
        ticker.watch.end()
        cpu_s = time.process_time() - cpu_s
        failure = next((end.failure for end in ends if end.failure), "")
        if load.loop == "open" and calls is None and not failure and not self.stopped:
            statistics.complete()
        self.failure = self.failure or failure
        self._statistics = None
        generator = statistics.generator(
            sum(order.connections for order in orders),
            cpu_s,
            real_time=bool(ends) and all(end.real_time for end in ends),
        )
        return statistics.run(generator, ends, ticker.server(), metrics.figures(statistics.all_calls))

    def _orders(self, load: Load, seconds: float, calls: int | None) -> list[Order]:
        plan, prepared, count = self._plan, self._prepared, self._plan.processes
        rates = (load.rate_per_s, load.rate_per_s) if load.rate_per_s is not None else None
        return [
            Order(
                endpoint=prepared.endpoint,
                requests=prepared.requests,
                sequence=_from(prepared.sequence, len(prepared.sequence) * part // count),
                connections=self._connections(load, part),
                timeout_s=plan.deadline_ms / 1_000,
                warm_up_s=load.warm_up_s,
                seconds=seconds,
                calls=_share(calls, part, count) if calls is not None else None,
                keep_answers=prepared.read_timing is not None,
                in_flight=_share(load.concurrency or 0, part, count),
                rates_per_s=plan.ramp if load.arrival == Arrival.RAMP else rates,
                arrival=Arrival(load.arrival or Arrival.POISSON),
                seed=plan.seed + load.repetition,
                part=part,
                parts=count,
            )
            for part in range(count)
        ]

    def _connections(self, load: Load, part: int) -> int:
        """The number of connections of one process."""
        count, per_connection = self._plan.processes, self._prepared.calls_per_connection
        if self._plan.connections is not None:
            return max(_share(self._plan.connections, part, count), 1)
        if load.concurrency is None:
            return max((_OPEN_CONNECTIONS if per_connection is None else _OPEN_HTTP_CONNECTIONS) // count, 1)
        in_flight = _share(load.concurrency, part, count)
        if per_connection is not None:
            return math.ceil(in_flight / per_connection)
        return min(in_flight, max(_MAX_CLOSED_CONNECTIONS // count, 1))


class _Ticker:
    """Observes the server and reports progress while a load runs."""

    def __init__(
        self, statistics: RunStatistics, watch: ProcessWatch, on_progress: OnProgress, *, warms_up: bool
    ) -> None:
        self.watch = watch
        self._statistics = statistics
        self._warms_up = warms_up
        self._on_progress = on_progress
        self._has_begun = False
        self._calls_before = 0
        self._next_s = 0.0

    def begin(self, started_ns: int) -> None:
        """Is called just before the first calls are sent."""
        self._statistics.begin(started_ns)
        if not self._warms_up:
            self._begin_measured()

    def tick(self) -> None:
        now_s = time.perf_counter()
        if not self._has_begun and self._statistics.has_begun:
            self._begin_measured()
        if now_s >= self._next_s:
            self._next_s = now_s + _SNAPSHOT_EVERY_S
            self.watch.look()
            if self._statistics.is_on:
                self._on_progress(self._statistics.snapshot())

    def server(self) -> ServerProcess | None:
        return self.watch.figures(self._statistics.all_calls - self._calls_before)

    def _begin_measured(self) -> None:
        self._has_begun = True
        self._calls_before = self._statistics.all_calls
        self.watch.begin()


def _share(total: int, part: int, parts: int) -> int:
    return total // parts + (part < total % parts)


def _from(sequence: Sequence[int], place: int) -> list[int]:
    return [*sequence[place:], *sequence[:place]]
