"""The accounts of a run, from chunks as generator processes hand them up."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from tests.load import made

from covey_load.channel import Chunk
from covey_load.run_statistics import RunStatistics

SECOND_NS = 1_000_000_000
DEADLINE_EXCEEDED = 4
LOAD = replace(made.load(), warm_up_s=0.0)


def begun(seconds: float, warm_up_s: float = 0.0) -> tuple[RunStatistics, int]:
    """A run whose end is long past, and the moment at which its warm-up began."""
    statistics = RunStatistics(replace(LOAD, warm_up_s=warm_up_s), seconds, 1, 20.0, None)
    begin_ns = time.perf_counter_ns() - 1_000 * SECOND_NS
    statistics.begin(begin_ns)
    return statistics, begin_ns


def chunk(*calls: tuple[int, int, int], cpu_ns: int = 0, at_ns: int = 0) -> Chunk:
    """Of calls as (due and sent, ended, status)."""
    rows = np.array([(due, due, ended, status, 0, 0) for due, ended, status in calls], np.int64)
    return Chunk(rows.tobytes(), b"", cpu_ns, at_ns)


def each_ms(begin_ns: int, seconds: float, took_ns: int = 5_000_000) -> list[tuple[int, int, int]]:
    dues = [begin_ns + number * 1_000_000 for number in range(int(seconds * 1_000))]
    return [(due, due + took_ns, 0) for due in dues]


def test_a_call_that_hangs_does_not_lengthen_the_run() -> None:
    statistics, begin_ns = begun(10.0)
    *calls, (due_ns, _, _) = each_ms(begin_ns, 10.0)
    statistics.take(0, chunk(*calls, (due_ns, due_ns + 10 * SECOND_NS, DEADLINE_EXCEEDED)))
    assert statistics.seconds == statistics.sending_s == 10.0
    assert statistics.calls == 10_000
    assert statistics.answered == 9_995  # the last four came 1 to 4 ms after the end


def test_answers_count_by_when_they_came_and_calls_by_when_they_were_due() -> None:
    """Calls of the warm-up that end in the run make up for its own that end after it."""
    statistics, begin_ns = begun(10.0, warm_up_s=1.0)
    statistics.take(0, chunk(*each_ms(begin_ns, 11.0, took_ns=30_000_000)))
    assert (statistics.all_calls, statistics.calls, statistics.response.count) == (11_000, 10_000, 10_000)
    assert (statistics.answered, statistics.answered_within_slo, statistics.within_slo) == (
        10_000,
        0,
        0,
    )  # 30 ms against 20


def test_a_run_that_was_stopped_lasts_until_its_last_answer() -> None:
    statistics = RunStatistics(LOAD, 1_000.0, 1, 20.0, None)
    begin_ns = time.perf_counter_ns() - 5 * SECOND_NS
    statistics.begin(begin_ns)
    statistics.stop()
    statistics.take(0, chunk(*each_ms(begin_ns, 6.2)))
    assert statistics.seconds == pytest.approx(6.204)
    assert statistics.sending_s == pytest.approx(6.199)
    assert statistics.answered == statistics.answered_within_slo == statistics.within_slo == 6_200


def test_an_open_loop_lasts_as_planned_though_its_last_call_was_answered_before() -> None:
    statistics = RunStatistics(LOAD, 1_000.0, 1, 20.0, None)
    begin_ns = time.perf_counter_ns() - 5 * SECOND_NS
    statistics.begin(begin_ns)
    statistics.take(0, chunk(*each_ms(begin_ns, 4.0)))
    assert statistics.seconds < 1_000.0
    statistics.complete()
    assert statistics.seconds == statistics.sending_s == 1_000.0
    assert statistics.answered_within_slo == 4_000


def test_core_share_is_that_of_the_time_in_which_calls_were_sent() -> None:
    """Ten seconds at 100 % of a core, and then ten in which a call that hangs is waited for."""
    statistics, begin_ns = begun(10.0)
    for tenth in range(101):
        at_ns = begin_ns + tenth * SECOND_NS // 10
        statistics.take(0, chunk((at_ns - 300_000_000, at_ns, 0), cpu_ns=at_ns - begin_ns, at_ns=at_ns))
    for tenth in range(101, 201):
        at_ns = begin_ns + tenth * SECOND_NS // 10
        statistics.take(0, chunk(cpu_ns=10 * SECOND_NS, at_ns=at_ns))
    hung_ns = begin_ns + 10 * SECOND_NS - 1
    statistics.take(
        0, chunk((hung_ns, hung_ns + 10 * SECOND_NS, DEADLINE_EXCEEDED), cpu_ns=10 * SECOND_NS, at_ns=at_ns)
    )
    assert statistics.generator(1, 0.0, real_time=False).busiest_core_share == pytest.approx(1.0)
