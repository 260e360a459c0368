"""The times inside the server that answers tell: a Timing for each, and the distributions of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from covey_load.distribution import Distribution
from covey_load.measurement import ServerTiming


class Timing(NamedTuple):
    """The timing in one answer, in microseconds."""

    decode_us: int
    queue_us: int
    compute_us: int
    total_us: int
    batch_size: int


ReadTiming = Callable[[bytes], Timing | None]

_PARTS = ("decode", "queue", "compute", "total", "outside")


class Timings:
    """Collects the timings of a run."""

    def __init__(self, read_timing: ReadTiming) -> None:
        """`read_timing` finds the timing in an answer as it came, None where there is none."""
        self._read = read_timing
        self._parts = {name: Distribution() for name in _PARTS}
        self._batch_sizes: Counter[int] = Counter()

    def add(self, answers: list[bytes], services_ns: list[int]) -> None:
        """Adds answers, with the time that the client waited for each since sending."""
        rows = []
        for answer, service_ns in zip(answers, services_ns, strict=True):
            timing = self._read(answer)
            if timing is not None:
                rows.append((*timing[:4], max(service_ns // 1_000 - timing.total_us, 0)))
                self._batch_sizes[timing.batch_size] += 1
        if rows:
            for name, column in zip(_PARTS, np.array(rows, np.int64).T, strict=True):
                self._parts[name].add(column * 1_000)

    def summary(self) -> ServerTiming | None:
        """The distributions; None where no answer told a timing."""
        if not self._batch_sizes:
            return None
        parts = {name: distribution.latency() for name, distribution in self._parts.items()}
        return ServerTiming(
            mean_ms={name: part.mean_ms for name, part in parts.items()},
            p99_ms={name: part.percentiles_ms["99"] for name, part in parts.items() if "99" in part.percentiles_ms},
            batch_sizes=dict(sorted(self._batch_sizes.items())),
        )
