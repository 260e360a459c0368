"""Many clients before many servers: what each way of choosing a server does to latency, simulated event by event.

    python -m bench.scale [--servers N...] [--load SHARE...]

A server computes one batch at a time, of all that waits, as Covey's does; what a batch takes is given by two measured
numbers (docs/scale.md). Nothing is served here: `--lone-us` and `--each-us` set them for another model.
"""

from __future__ import annotations

import argparse
import heapq
import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

MAX_BATCH = 32
_REQUESTS_EACH = 120  # per server, of which the first third is not counted
_MIN_REQUESTS = 60_000
_RETRIES = 4  # as the SDK's
_NONE = -1
_BLOCK = 8192  # random numbers drawn at once


@dataclass(frozen=True)
class Farm:
    """`load` is the share of what the servers could do with full batches. Every tenth takes `slowness` times as long.
    A server refuses what it would answer after `deadline_us`; the client then asks another one at once."""

    servers: int
    load: float
    lone_us: float = 160.0
    each_us: float = 33.0
    slowness: float = 1.0
    clients_each: float = 2.0
    deadline_us: float = 50_000.0

    def batch_us(self, images: int) -> float:
        """What a server that is not slow takes for a batch."""
        return self.lone_us + self.each_us * images

    @property
    def speeds(self) -> list[float]:
        """How many times as long each server takes."""
        return [self.slowness if place % 10 == 9 else 1.0 for place in range(self.servers)]

    @property
    def arrivals_per_us(self) -> float:
        """Requests of all clients."""
        per_server = MAX_BATCH / self.batch_us(MAX_BATCH)
        return self.load * per_server * sum(1 / speed for speed in self.speeds)


@dataclass
class State:
    """What a policy may look at. `waiting` is the true queue of each server, running requests included. By client and
    server, `own_calls` are the client's calls in flight, and `reported` is the queue in the last answer to it."""

    farm: Farm
    random: Random
    waiting: list[int]
    turns: list[int]
    own_calls: dict[tuple[int, int], int] = field(default_factory=dict)
    reported: dict[tuple[int, int], int] = field(default_factory=dict)


Choose = Callable[[State, int], int]  # the server for a client's next request


class Random:
    """Whole numbers below a limit, drawn by the thousand."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._drawn: list[float] = []

    def below(self, limit: int) -> int:
        if not self._drawn:
            self._drawn = self._generator.random(_BLOCK).tolist()
        return int(self._drawn.pop() * limit)

    def gaps(self, per_us: float) -> list[float]:
        """Microseconds between arrivals, _BLOCK of them."""
        gaps: list[float] = self._generator.exponential(1 / per_us, _BLOCK).tolist()
        return gaps


def one_connection(state: State, client: int) -> int:
    """Each client stays with one server, as gRPC does behind one address."""
    return client % state.farm.servers


def round_robin(state: State, client: int) -> int:
    """Each client takes the servers in turn, from a place of its own: gRPC's round_robin, for `dns:///` names."""
    state.turns[client] += 1
    return (state.turns[client] + client * 7919) % state.farm.servers


def fewest_own_calls(state: State, client: int) -> int:
    """The server with the fewest calls of this client, in turn among equals: the SDK with a list of addresses."""
    servers, fewest = state.farm.servers, sys.maxsize
    first = chosen = round_robin(state, client)
    for step in range(servers):
        server = (first + step) % servers
        own_calls = state.own_calls.get((client, server), 0)
        if own_calls < fewest:
            chosen, fewest = server, own_calls
            if not own_calls:
                break
    return chosen


def _two(state: State) -> tuple[int, int]:
    return state.random.below(state.farm.servers), state.random.below(state.farm.servers)


def two_by_own_calls(state: State, client: int) -> int:
    """Of two servers the one with fewer calls of this client."""
    one, other = _two(state)
    return one if state.own_calls.get((client, one), 0) <= state.own_calls.get((client, other), 0) else other


def two_by_reported_queue(state: State, client: int) -> int:
    """Of two servers the one whose last answer to this client told of fewer waiting requests."""
    one, other = _two(state)
    return one if state.reported.get((client, one), 0) <= state.reported.get((client, other), 0) else other


def two_by_true_queue(state: State, client: int) -> int:
    """Of two servers the one where fewer requests wait now, which a proxy before all of them could know."""
    one, other = _two(state)
    return one if state.waiting[one] <= state.waiting[other] else other


def shortest_queue(state: State, client: int) -> int:
    """Where the fewest requests wait now: what nobody can know, the best there is."""
    tries = [state.random.below(state.farm.servers) for _ in range(min(state.farm.servers, 24))]
    return min(tries, key=state.waiting.__getitem__)


POLICIES: dict[str, Choose] = {
    "one connection each": one_connection,
    "round robin": round_robin,
    "fewest own calls": fewest_own_calls,
    "two, own calls": two_by_own_calls,
    "two, as told": two_by_reported_queue,
    "two, true queue": two_by_true_queue,
    "shortest of 24": shortest_queue,
}


def simulate(farm: Farm, choose: Choose, seed: int = 1) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Latencies in us of the requests after the first third; infinite: refused by all servers that were asked."""
    requests = max(_MIN_REQUESTS, _REQUESTS_EACH * farm.servers)
    random, speeds = Random(seed), farm.speeds
    clients = max(1, int(farm.clients_each * farm.servers))
    state = State(farm, random, [0] * farm.servers, [0] * clients)
    queues: list[deque[tuple[float, int]]] = [deque() for _ in range(farm.servers)]  # when it came, and from whom
    running: list[list[tuple[float, int]]] = [[] for _ in range(farm.servers)]
    ends: list[tuple[float, int]] = []  # of batches
    latencies = np.empty(requests)
    answered = sent = 0
    gaps = random.gaps(farm.arrivals_per_us)
    now, arrival, full_us = 0.0, gaps.pop(), farm.batch_us(MAX_BATCH)

    def start(server: int) -> None:
        queue = queues[server]
        batch = [queue.popleft() for _ in range(min(len(queue), MAX_BATCH))]
        running[server] = batch
        if batch:
            heapq.heappush(ends, (now + farm.batch_us(len(batch)) * speeds[server], server))

    def accepts(server: int) -> bool:
        batches = -(-(state.waiting[server] + 1) // MAX_BATCH)
        return batches * full_us * speeds[server] <= farm.deadline_us

    while answered < requests:
        if sent < requests and (not ends or arrival <= ends[0][0]):
            now, client = arrival, random.below(clients)
            sent += 1
            gaps = gaps or random.gaps(farm.arrivals_per_us)
            arrival += gaps.pop()
            tries = (choose(state, client) for _ in range(1 + _RETRIES))
            server = next(filter(accepts, tries), _NONE)
            if server == _NONE:
                latencies[answered] = math.inf
                answered += 1
                continue
            queues[server].append((now, client))
            state.waiting[server] += 1
            state.own_calls[client, server] = state.own_calls.get((client, server), 0) + 1
            if not running[server]:
                start(server)
            continue
        now, server = heapq.heappop(ends)
        for arrived, client in running[server]:
            latencies[answered] = now - arrived
            answered += 1
            state.own_calls[client, server] -= 1
            state.reported[client, server] = len(queues[server])
        state.waiting[server] -= len(running[server])
        start(server)
    return latencies[requests // 3 :]


def rows(farms: Sequence[Farm], policies: Sequence[str]) -> list[list[str]]:
    """A row for each farm: servers, load, and p50 and p99 in ms by policy."""
    table = []
    for farm in farms:
        cells = []
        for name in policies:
            latencies = simulate(farm, POLICIES[name])
            refused = np.isinf(latencies).mean()
            p50, p99 = np.percentile(latencies[np.isfinite(latencies)], (50, 99)) / 1000
            cells.append(f"{p50:.2f}, {p99:.2f}" + f"; {refused:.2%} refused" * bool(refused))
            print(f"{farm.servers} servers, {farm.load:.0%}: {name} {cells[-1]} ms", file=sys.stderr, flush=True)
        table.append([f"{farm.servers:,}", f"{farm.load:.0%}", *cells])
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--servers", type=int, nargs="+", default=[10, 100, 1000, 10_000], metavar="N")
    parser.add_argument("--load", type=float, nargs="+", default=[0.5, 0.8, 0.95], metavar="SHARE")
    parser.add_argument("--clients", type=float, default=Farm.clients_each, help="of each server")
    parser.add_argument("--lone-us", type=float, default=Farm.lone_us, help="of a batch, whatever its size")
    parser.add_argument("--each-us", type=float, default=Farm.each_us, help="of each image in it")
    options = parser.parse_args(arguments)
    for slowness, text in ((1.0, "servers alike"), (2.0, "every tenth server takes twice as long")):
        farms = [
            Farm(servers, load, options.lone_us, options.each_us, slowness, options.clients)
            for servers in options.servers
            for load in options.load
        ]
        print(f"\n{text}: p50, p99 in ms")
        header = ["servers", "load", *POLICIES]
        for row in [header, ["---"] * len(header), *rows(farms, list(POLICIES))]:
            print(f"| {' | '.join(row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
