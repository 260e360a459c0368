"""How much of the machine serving takes at the moment: the CPU time of this process without the explaining thread."""

from __future__ import annotations

import time
from collections.abc import Callable

SAMPLE_S = 0.02  # at the least, between two samples
FRESH_S = 1.0  # older samples say nothing about now


class ServingTime:
    """The share of the cores that serving takes. The explaining thread measures it by `share`; any thread may read
    `latest`."""

    def __init__(
        self,
        cores: int,
        clock_s: Callable[[], float] = time.monotonic,
        process_s: Callable[[], float] = time.process_time,
        own_s: Callable[[], float] = time.thread_time,
    ) -> None:
        self._cores = cores
        self._clock_s = clock_s
        self._process_s = process_s
        self._own_s = own_s
        self._last_sample = (float("-inf"), 0.0)  # when, and the others' CPU time then
        self._share = 0.0

    @property
    def latest(self) -> float:
        """The share of all cores that was measured last, 0 to 1; 0 if that was more than FRESH_S ago."""
        return self._share if self._clock_s() - self._last_sample[0] <= FRESH_S else 0.0

    def share(self, wait: Callable[[float], object]) -> float:
        """The share of all cores, 0 to 1, since the last sample; if that is too old, it `wait`s a moment for a new
        one."""
        now, previous = self._clock_s(), self._last_sample
        if now - previous[0] > FRESH_S:
            previous = now, self._others_s()
            wait(SAMPLE_S)
            now = self._clock_s()
        elif now - previous[0] < SAMPLE_S:
            return self._share
        others_s = self._others_s()
        self._share = (others_s - previous[1]) / max(now - previous[0], 1e-9) / self._cores
        self._last_sample = now, others_s
        return self._share

    def _others_s(self) -> float:
        return self._process_s() - self._own_s()
