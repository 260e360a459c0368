"""How many servers a rate of calls needs: a server is simulated call by call, from the batch curve that it measured of
its model and what Covey itself takes per call. Sends nothing.

The simulated server computes batches of all calls that wait, on as many lanes as it has cores beside the front's; calls
come at random (Poisson). What that leaves out is said by `ASSUMED`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What a server takes beside the model's own time, of LeNet by covey.v1 on one lane: a lone call takes 196 us, of which
# 48 are the model's (docs/performance.md); calls that come one by one and share batches of 31 took 72.8 us each, of
# which 14.7 were (docs/scale.md).
BURST_US, CALL_US = 100.0, 55.0
BASE_BYTES = 90 << 20  # of a server without models (98 MB with LeNet)
IN_FLIGHT_SHARE = 0.25  # of a container's memory, as docker-compose.yml sets COVEY_MAX_BYTES
PERCENTILE = 99
ASSUMED = (
    "calls that come evenly enough (Poisson), on cores that do nothing else, from clients that choose the server with "
    "the fewest calls"
)
_CALLS = 20_000  # simulated at each rate; 200 of them lie above the 99th percentile
_CLOSE_ENOUGH = 1.01
_SELDOM_PER_S = 1e-3  # calls that come more seldom do not meet; their times would leave a float no place for fractions


class Unreachable(Exception):
    """No number of servers keeps the bound; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server and what it is asked. `curve`: what a batch of so many images takes, by size, in us. `call_us` is what
    a call takes beside the model, decoding included."""

    curve: Sequence[tuple[int, float]]
    max_batch_size: int
    cores: int
    images: int = 1  # of each call
    call_us: float = CALL_US

    @property
    def lanes(self) -> int:
        """Batches that are computed at once: the front needs a core too."""
        return max(1, self.cores - 1)

    @property
    def max_calls(self) -> int:
        """Calls of one batch."""
        return max(1, self.max_batch_size // self.images)

    def batch_us(self, calls: int) -> float:
        """A batch of so many calls, from the first byte read to the last one written."""
        images = calls * self.images
        sizes, times = [0, *(size for size, _ in self.curve)], [0.0, *(run_us for _, run_us in self.curve)]
        whole, rest = divmod(images, sizes[-1])
        run_us = whole * times[-1] + float(np.interp(rest, sizes, times))
        return BURST_US + calls * self.call_us + run_us

    @property
    def max_rate_per_s(self) -> float:
        """Calls a second where all batches are full: no rate above it can be kept up."""
        return 1e6 * self.lanes * max(calls / self.batch_us(calls) for calls in range(1, self.max_calls + 1))

    def latencies_ms(self, rate_per_s: float, calls: int = _CALLS, seed: int = 1) -> NDArray[np.float64]:
        """How long calls take that come at this rate, the first tenth left out."""
        gaps_us = np.random.default_rng(seed).exponential(1e6 / max(rate_per_s, _SELDOM_PER_S), calls)
        arrivals = np.cumsum(gaps_us).tolist()
        times = [0.0, *(self.batch_us(count) for count in range(1, self.max_calls + 1))]
        free = [0.0] * min(self.lanes, calls)  # when each lane is
        waiting: deque[float] = deque()
        took: list[float] = []
        place = 0
        while place < calls or waiting:
            lane = free[0]
            if not waiting:
                waiting.append(arrivals[place])
                place += 1
            now = max(lane, waiting[0])
            while place < calls and arrivals[place] <= now:
                waiting.append(arrivals[place])
                place += 1
            batch = [waiting.popleft() for _ in range(min(len(waiting), self.max_calls))]
            end = now + times[len(batch)]
            heapq.heapreplace(free, end)
            took += [end - came for came in batch]
        return np.array(took[calls // 10 :]) / 1000

    def percentile_ms(self, rate_per_s: float) -> float:
        """Within what time 99 % of the calls are answered at this rate; infinite where it cannot be kept up."""
        if rate_per_s >= self.max_rate_per_s:
            return math.inf
        return float(np.percentile(self.latencies_ms(rate_per_s), PERCENTILE))

    def capacity_per_s(self, slo_ms: float) -> float:
        """The highest rate at which 99 % of the calls are answered within `slo_ms`. Raises Unreachable."""
        alone_ms = self.batch_us(1) / 1000
        if alone_ms > slo_ms:
            raise Unreachable(
                f"a lone call takes {alone_ms:.3g} ms by the measured curve, so no number of servers answers within "
                f"{slo_ms:g} ms; ask for more, or take a smaller network"
            )
        low, high = 0.0, self.max_rate_per_s
        while high > _CLOSE_ENOUGH * max(low, high / 1000):
            middle = (low + high) / 2
            low, high = (middle, high) if self.percentile_ms(middle) <= slo_ms else (low, middle)
        return low


@dataclass(frozen=True, slots=True)
class Sizing:
    """How many servers, and what is expected of them. `needed` carry the load, `spare` are for when some are away."""

    rate_per_s: float
    slo_ms: float
    headroom: float
    capacity_per_s: float  # of one server, within the bound
    needed: int
    spare: int
    all_ms: float  # the 99th percentile with all servers up, without the headroom
    fewest_ms: float  # with `needed` of them

    @property
    def servers(self) -> int:
        return self.needed + self.spare

    def busy(self, servers: int) -> float:
        """The share of what so many servers can answer within the bound that the rate is."""
        return self.rate_per_s / (servers * self.capacity_per_s)


def size(
    server: Server, rate_per_s: float, slo_ms: float, headroom: float, spare: int, capacity_per_s: float | None = None
) -> Sizing:
    """How many such servers answer `rate_per_s` calls a second, 99 % within `slo_ms`, with `headroom` (0.3: 30 %) above
    that rate. `capacity_per_s`: of one server, where it was measured under load. Raises Unreachable."""
    capacity = server.capacity_per_s(slo_ms) if capacity_per_s is None else capacity_per_s
    if not capacity:
        raise Unreachable(f"one server keeps {slo_ms:g} ms at no rate; ask for more, or take a smaller network")
    needed = max(1, math.ceil(rate_per_s * (1 + headroom) / capacity))
    times = [server.percentile_ms(rate_per_s / count) for count in (needed + spare, needed)]
    return Sizing(rate_per_s, slo_ms, headroom, capacity, needed, spare, *times)


def memory_bytes(model_bytes: int) -> int:
    """What a container of one server should have: two versions of the model, while one replaces the other, the server
    itself, and room for what is in flight; in steps of 64 MiB."""
    needed = (BASE_BYTES + 2 * model_bytes) / (1 - IN_FLIGHT_SHARE)
    return math.ceil(needed / (64 << 20)) * (64 << 20)
