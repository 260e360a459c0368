"""Puts loads on a server with covey_load's generator processes, and measures what they cost the server.

A closed loop of N calls in flight finds what a server can do, and its latencies are those of N patient callers; an open
loop sends at random moments, whatever the server does, and is for what its callers see in overload.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bench.processes import CALL_TIMEOUT_S, CLASSIFY, BenchError, Server
from covey.security import TLS, Token
from covey_load.channel import Order
from covey_load.pool import LoadError
from covey_load.processes import Generators
from covey_load.recording import Recording, record
from covey_load.remote import Remote
from covey_load.wire.frames import Request
from covey_load.wire.grpc_status import OK
from covey_load.wire.http1 import HttpRequest

# An open loop sends and reads in rounds of at least this length: what each call would cost alone the server would lack.
ROUND_US = 500
OPEN_CONNECTIONS = 4  # each may have about a thousand calls open
# Above this the generator was not the caller it should have been: its calls came late and in heaps.
MAX_LAG_MS = 5.0


OnBegin = Callable[[int], object]


@dataclass(frozen=True)
class Caller:
    """How a load calls: over one plaintext connection to Classify, unless it says otherwise.

    `path` is a gRPC method, or with `http` where to POST to, over as many connections as calls are in flight. With
    `apart` connection i sends only message i, and waits for no other. Loads of several `processes` are each as large.
    """

    path: str = CLASSIFY
    http: bool = False
    tls: TLS | None = None
    token: Token = ""
    connections: int = 1
    apart: bool = False
    processes: int = 1
    keep_answers: bool = False
    max_failure_share: float = 0.0  # of its calls; with more, the load is no measurement


PLAIN = Caller()


@dataclass(frozen=True)
class Cost:
    """The cost of one load: what its callers saw, what it cost the server per call, and how many images its batches
    held (0 where the server counts none)."""

    calls: Recording
    cpu_us: float
    mean_batch: float

    def service_us(self, percent: float) -> float:
        """A percentile of the latencies, from sending on; 0 where no call was answered."""
        return (
            float(np.percentile(self.calls.service_ms, percent)) * 1e3
            if self.calls.failures < self.calls.calls
            else 0.0
        )


def measure_load(
    server: Server, messages: Sequence[bytes], in_flight: int, seconds: float, caller: Caller = PLAIN
) -> Cost:
    """Puts the load on and reads the server's CPU time before and after. Raises BenchError as `put_load`."""
    batches_start, images_start = server.batches()
    cpu_start = server.cpu_seconds()  # after the scrape above and before the one below: they cost CPU too
    calls = put_load(server, messages, in_flight, seconds, caller)
    cpu = server.cpu_seconds() - cpu_start
    batches, images = server.batches()
    ran = batches - batches_start
    return Cost(calls, cpu * 1e6 / calls.calls, (images - images_start) / ran if ran else 0.0)


def put_load(
    server: Server, messages: Sequence[bytes], in_flight: int, seconds: float, caller: Caller = PLAIN
) -> Recording:
    """A closed loop on `server`, each call with a deadline, as the SDK's are.

    Raises:
        BenchError: it could not be put on, or too many calls failed: figures of failing calls mean nothing.
    """
    recording = closed_loop(server, messages, in_flight, seconds=seconds, caller=caller)
    if recording.failures > caller.max_failure_share * recording.calls:
        raise BenchError(
            f"{server.name} failed {recording.failures} of {recording.calls} calls ({dict(recording.by_status())}); "
            f"its log may say why"
        )
    return recording


def closed_loop(
    server: Server,
    messages: Sequence[bytes],
    in_flight: int,
    *,
    seconds: float = math.inf,
    calls: int | None = None,
    caller: Caller = PLAIN,
) -> Recording:
    """Puts a closed loop on the server, for that long or that many calls, whatever becomes of them. Raises BenchError
    where it could not be put on."""
    remote, requests = _prepare(server, messages, caller, CALL_TIMEOUT_S)
    order = Order(
        remote.endpoint,
        requests,
        apart=caller.apart,
        connections=in_flight if caller.http else caller.connections,
        timeout_s=CALL_TIMEOUT_S,
        seconds=seconds,
        calls=calls,
        keep_answers=caller.keep_answers,
        in_flight=in_flight,
    )
    with Generators(caller.processes) as generators:
        return _record(server, generators, [order] * caller.processes, lambda begin_ns: None)


@dataclass(frozen=True)
class OpenLoad:
    """The result of an open loop."""

    calls: Recording

    def in_time(self, limit_ms: float) -> int:
        """The number of calls that were answered within the limit."""
        return int(np.count_nonzero(self.calls.response_ms <= limit_ms))

    def percentile_ms(self, percent: float, from_ns: float = -np.inf, to_ns: float = np.inf) -> float:
        """Latency of the answered calls that were meant to start in [from_ns, to_ns); infinite where there is none."""
        due_ns = self.calls.due_ns[self.calls.statuses == OK]
        response_ms = self.calls.response_ms[(due_ns >= from_ns) & (due_ns < to_ns)]
        return float(np.percentile(response_ms, percent)) if len(response_ms) else math.inf

    @property
    def lag_p99_ms(self) -> float:
        """The 99th percentile of how late calls were sent."""
        return float(np.percentile(self.calls.lag_ms, 99)) if self.calls.calls else 0.0

    @property
    def flaw(self) -> str:
        """Why the load is no measurement; empty where it is one."""
        late = self.lag_p99_ms > MAX_LAG_MS
        return f"invalid: calls were sent up to {self.lag_p99_ms:.1f} ms late (p99)" if late else ""


class RunningLoad:
    """An open loop that is being put on a server."""

    def __init__(self, server: Server, generators: Generators, order: Order, pool: ThreadPoolExecutor) -> None:
        self._generators = generators
        has_begun = threading.Event()
        self._recording = pool.submit(_record, server, generators, [order], lambda begin_ns: has_begun.set())
        self._recording.add_done_callback(lambda _: has_begun.set())
        has_begun.wait()

    def stop(self) -> None:
        """Sends no more calls. `finish` gives the result."""
        self._generators.stop()

    def finish(self) -> OpenLoad:
        """Waits for the end of the load. Raises BenchError where it could not be put on."""
        return OpenLoad(self._recording.result())


@contextmanager
def open_load(
    server: Server,
    messages: Sequence[bytes],
    *,
    rate: float,
    seconds: float,
    timeout_s: float,
    seed: int = 0,
    round_us: int = ROUND_US,
    keep_answers: bool = False,
    caller: Caller = PLAIN,
) -> Iterator[RunningLoad]:
    """A load of `rate` calls per second, Poisson arrivals, from now on, for `seconds` at the most."""
    remote, requests = _prepare(server, messages, caller, timeout_s)
    order = Order(
        remote.endpoint,
        requests,
        connections=OPEN_CONNECTIONS,
        timeout_s=timeout_s,
        seconds=seconds,
        keep_answers=keep_answers,
        rates_per_s=(rate, rate),
        seed=seed,
        round_us=round_us,
    )
    with Generators(1) as generators, ThreadPoolExecutor(1) as pool:
        running = RunningLoad(server, generators, order, pool)
        try:
            yield running
        finally:
            running.stop()


def _prepare(
    server: Server, messages: Sequence[bytes], caller: Caller, timeout_s: float
) -> tuple[Remote, list[Request] | list[HttpRequest]]:
    remote = Remote(server.target, timeout_s * 1_000, caller.tls, caller.token)
    if not caller.http:
        return remote, remote.requests(caller.path, messages)
    authority = remote.endpoint.authority
    return remote, [HttpRequest(authority, caller.path, body, number) for number, body in enumerate(messages)]


def _record(server: Server, generators: Generators, orders: Sequence[Order], begin: OnBegin) -> Recording:
    try:
        return record(generators, orders, begin)
    except LoadError as error:
        raise BenchError(f"load on {server.name}: {error}") from error
