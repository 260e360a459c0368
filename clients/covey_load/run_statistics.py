"""The statistics of one run, computed from the chunks of the generator processes.

A call belongs to the run where it was meant to be sent after the warm-up. Errors have no latency: they are counted.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covey_load import validity
from covey_load.channel import FIELDS, Chunk, Ended
from covey_load.distribution import Distribution
from covey_load.loops import NEVER_NS
from covey_load.measurement import Generator, Interval, Load, Run, ServerMetrics, ServerProcess, Snapshot
from covey_load.timings import ReadTiming, Timings
from covey_load.wire.grpc_status import OK, status_name

_RECENT_NS = 1_000_000_000


class _Mark(NamedTuple):
    """The CPU time of a process at a moment."""

    at_ns: int
    cpu_ns: int


class _Process:
    """The costs of one generator process, from the first chunk after the warm-up on."""

    def __init__(self) -> None:
        self.calls = 0
        self._first: _Mark | None = None
        self._later: deque[_Mark] = deque()  # the first mark after the last call that is known to be sent, and on
        self._last_sent_ns = 0

    def add(self, chunk: Chunk, rows: NDArray[np.int64], begin_ns: int) -> None:
        """`rows` are the chunk's records."""
        mark = _Mark(chunk.at_ns, chunk.cpu_ns)
        if self._first is None:
            self._first = mark if chunk.at_ns >= begin_ns else None
            return
        self.calls += len(rows)
        self._last_sent_ns = max(self._last_sent_ns, int(rows[:, 1].max(initial=0)))
        self._later.append(mark)
        while len(self._later) > 1 and self._later[0].at_ns < self._last_sent_ns:
            self._later.popleft()

    @property
    def cpu_ns(self) -> int:
        return self._later[-1].cpu_ns - self._first.cpu_ns if self._first and self._later else 0

    @property
    def core_share(self) -> float:
        """The share of a core while it sent: waiting for the last answers takes no CPU, and may take long."""
        if not self._first or not self._later:
            return 0.0
        return (self._later[0].cpu_ns - self._first.cpu_ns) / (self._later[0].at_ns - self._first.at_ns)


class RunStatistics:
    """Counts from `begin` on; until then everything is zero."""

    def __init__(
        self, load: Load, seconds: float, processes: int, slo_ms: float | None, read_timing: ReadTiming | None
    ) -> None:
        """`seconds` is the longest measured time, and may be infinite. `read_timing`: None where answers tell
        nothing."""
        self.response, self.service, self.lag = Distribution(), Distribution(), Distribution()
        self.errors: Counter[str] = Counter()
        self.calls = 0  # that belong to the run
        self.all_calls = 0  # of the warm-up too
        self.within_slo = 0  # of these
        self.answered = self.answered_within_slo = 0  # in the time of the run, calls of the warm-up included
        self._load = load
        self._seconds = seconds
        self._slo_ns = slo_ms * 1e6 if slo_ms is not None else None
        self._timings = Timings(read_timing) if read_timing is not None else None
        self._processes = [_Process() for _ in range(processes)]
        self._seconds_ms: dict[int, list[NDArray[np.float32]]] = defaultdict(list)
        self._calls_by_second: Counter[int] = Counter()
        self._errors_by_second: Counter[int] = Counter()
        self._last_due_ns = self._last_ended_ns = 0
        self._recent: list[tuple[int, int]] = []  # when a chunk came, and the calls that succeeded until then
        self._started_ns = self._begin_ns = 0
        self._end_ns = NEVER_NS
        self._stopped_ns = NEVER_NS
        self._is_complete = False

    def begin(self, started_ns: int) -> None:
        """Begins the warm-up at that moment (of time.perf_counter_ns)."""
        self._started_ns = started_ns
        self._begin_ns = self._last_due_ns = self._last_ended_ns = started_ns + int(self._load.warm_up_s * 1e9)
        if math.isfinite(self._seconds):
            self._end_ns = self._begin_ns + int(self._seconds * 1e9)

    def stop(self) -> None:
        """Notes that no more calls are sent from now on, though there was time left."""
        self._stopped_ns = min(self._stopped_ns, time.perf_counter_ns())

    def complete(self) -> None:
        """Notes that all calls of the planned time were sent. An open loop ends with its last call, before its planned
        end; the run counts as whole."""
        self._is_complete = True

    @property
    def elapsed_s(self) -> float:
        """The time since the end of the warm-up; below 0 before."""
        return (time.perf_counter_ns() - self._begin_ns) / 1e9

    def take(self, place: int, chunk: Chunk) -> None:
        """Takes a chunk of the generator process at `place`."""
        rows = np.frombuffer(chunk.records, np.int64).reshape(-1, FIELDS)
        self._processes[place].add(chunk, rows, self._begin_ns)
        self.all_calls += len(rows)
        is_in_run = rows[:, 0] >= self._begin_ns
        if self._timings is not None:
            self._read_answers(rows, is_in_run, chunk.answers)
        self._count_answers(rows)
        rows = rows[is_in_run]
        if len(rows):
            self._count(rows)
        self._recent = [(at_ns, answered) for at_ns, answered in self._recent if at_ns > chunk.at_ns - _RECENT_NS]
        self._recent.append((chunk.at_ns, self.response.count))

    def _count(self, rows: NDArray[np.int64]) -> None:
        due, sent, ended, status = rows[:, :4].T
        self.calls += len(rows)
        self._last_due_ns = max(self._last_due_ns, int(due.max()))
        self._last_ended_ns = max(self._last_ended_ns, int(ended.max()))
        self.lag.add(np.maximum(sent - due, 0))
        is_ok = status == OK
        response_ns = (ended - due)[is_ok]
        self.response.add(response_ns)
        self.service.add((ended - sent)[is_ok])
        self.within_slo += self._count_within_slo(response_ns)
        seconds = (due - self._begin_ns) // 1_000_000_000
        for code, count in zip(*np.unique(status[~is_ok], return_counts=True), strict=True):
            self.errors[status_name(int(code))] += int(count)
        for second in np.unique(seconds).tolist():
            in_second = seconds == second
            self._calls_by_second[second] += int(np.count_nonzero(in_second))
            self._errors_by_second[second] += int(np.count_nonzero(in_second & ~is_ok))
            self._seconds_ms[second].append((response_ns[in_second[is_ok]] / 1e6).astype(np.float32))

    def _count_answers(self, rows: NDArray[np.int64]) -> None:
        """Counts the answers within the time of the run: as many calls of the warm-up end in it as its own calls end
        after it."""
        due, ended, status = rows[:, [0, 2, 3]].T
        in_time = (status == OK) & (ended >= self._begin_ns) & (ended < self._end_ns)
        self.answered += int(np.count_nonzero(in_time))
        self.answered_within_slo += self._count_within_slo((ended - due)[in_time])

    def _count_within_slo(self, response_ns: NDArray[np.int64]) -> int:
        return int(np.count_nonzero(response_ns <= self._slo_ns)) if self._slo_ns is not None else 0

    def _read_answers(self, rows: NDArray[np.int64], is_in_run: NDArray[np.bool_], answers: bytes) -> None:
        assert self._timings is not None
        bounds = [0, *np.cumsum(rows[:, 5]).tolist()]
        pieces = [answers[start:end] for start, end in pairwise(bounds)]
        indices = np.flatnonzero(is_in_run & (rows[:, 5] > 0)).tolist()
        self._timings.add([pieces[index] for index in indices], (rows[indices, 2] - rows[indices, 1]).tolist())

    @property
    def is_on(self) -> bool:
        """Whether calls are being sent, if only to warm up."""
        return self._started_ns > 0

    @property
    def has_begun(self) -> bool:
        """Whether the warm-up is over."""
        return self.is_on and self.elapsed_s >= 0

    @property
    def is_whole(self) -> bool:
        """Whether calls could be sent until the planned end."""
        return self.is_on and (self._is_complete or self._end_ns <= min(self._stopped_ns, time.perf_counter_ns()))

    @property
    def seconds(self) -> float:
        """The time of the run: as planned, however long the last answers took. Of a run that ended before, or that has
        a number of calls and no planned end, from the end of the warm-up to the last answer, and at least as long as
        calls were sent."""
        if not self.is_on or self.is_whole:
            return self._seconds if self.is_on else 0.0
        lasted_s = (self._last_ended_ns - self._begin_ns) / 1e9
        sent_s = min(self.elapsed_s, (self._stopped_ns - self._begin_ns) / 1e9)
        return max(lasted_s, sent_s, 0.0) if math.isfinite(self._seconds) else lasted_s

    @property
    def sending_s(self) -> float:
        """How long calls were sent after the warm-up."""
        return self._seconds if self.is_whole else (self._last_due_ns - self._begin_ns) / 1e9

    def run(
        self,
        generator: Generator,
        ends: Sequence[Ended],
        server_process: ServerProcess | None,
        metrics: ServerMetrics | None,
    ) -> Run:
        """The run with all its figures, judged."""
        load, seconds, has_slo = self._load, self.seconds, self._slo_ns is not None
        calls_per_s = self.answered / seconds if seconds else 0.0
        response = self.response.latency([self._times_ms(second) for second in self._each_second()])
        lag = self.lag.latency()
        intervals = [self._interval(second) for second in self._each_second()]
        return Run(
            load=load,
            seconds=seconds,
            calls=self.calls,
            images=self.response.count * load.images_per_call,
            errors=dict(self.errors),
            calls_per_s=calls_per_s,
            images_per_s=calls_per_s * load.images_per_call,
            goodput_per_s=self.answered_within_slo / seconds if has_slo and seconds else None,
            response=response,
            service=self.service.latency(),
            lag=lag,
            intervals=intervals,
            timing=self._timings.summary() if self._timings is not None else None,
            generator=generator,
            server_process=server_process,
            metrics=metrics,
            invalid=validity.find_invalid(load, self.calls, response, lag, generator, ends),
            warnings=validity.find_warnings(load, self.calls, self.errors.total(), intervals, self.sending_s, metrics),
            calls_within_slo=self.within_slo if has_slo else None,
        )

    def _each_second(self) -> range:
        return range(max(self._calls_by_second, default=-1) + 1)

    def _times_ms(self, second: int) -> NDArray[np.float32]:
        return np.concatenate(self._seconds_ms.get(second) or [np.empty(0, np.float32)])

    def _interval(self, second: int) -> Interval:
        times_ms = self._times_ms(second)
        p50, p99, longest = np.percentile(times_ms, (50, 99, 100)).tolist() if len(times_ms) else (None, None, None)
        return Interval(
            start_s=float(second),
            calls=self._calls_by_second[second],
            errors=self._errors_by_second[second],
            p50_ms=p50,
            p99_ms=p99,
            max_ms=longest,
        )

    def generator(self, connections: int, own_cpu_s: float, *, real_time: bool) -> Generator:
        """The costs of the load generator. `own_cpu_s` is what this process itself needed to take the chunks.
        `real_time` is the generator processes' priority."""
        cpu_ns = sum(process.cpu_ns for process in self._processes) + own_cpu_s * 1e9
        calls = sum(process.calls for process in self._processes)
        return Generator(
            processes=len(self._processes),
            connections=connections,
            cpu_us_per_call=cpu_ns / 1e3 / calls if calls else 0.0,
            busiest_core_share=max(process.core_share for process in self._processes),
            real_time=real_time,
        )

    def snapshot(self) -> Snapshot:
        """The figures so far."""
        elapsed_s = self.elapsed_s
        warming_up = elapsed_s < 0
        recent_s = (self._recent[-1][0] - self._recent[0][0]) / 1e9 if len(self._recent) > 1 else 0.0
        recent = self._recent[-1][1] - self._recent[0][1] if recent_s else 0
        return Snapshot(
            load=self._load,
            warming_up=warming_up,
            elapsed_s=max(elapsed_s + self._load.warm_up_s, 0.0) if warming_up else elapsed_s,
            planned_s=self._load.warm_up_s if warming_up else self._seconds if math.isfinite(self._seconds) else None,
            calls=self.calls,
            errors=self.errors.total(),
            recent_per_s=recent / recent_s if recent_s else 0.0,
            p50_ms=self.response.percentile_ms(50),
            p99_ms=self.response.percentile_ms(99),
        )
