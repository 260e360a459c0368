"""The accounts of a run, from chunks as generator processes hand them up."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from tests.load import examples

from covey_load.channel import Chunk
from covey_load.run_statistics import RunStatistics
from covey_load.timings import Timing

SECOND_NS = 1_000_000_000
DEADLINE_EXCEEDED = 4
LOAD = replace(examples.load(), warm_up_s=0.0)


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


def test_lag_is_never_negative_and_service_time_begins_when_a_call_is_sent() -> None:
    """A call may be sent a little before it is due; what it waited for before it was sent is response time alone."""
    statistics, begin_ns = begun(10.0)
    early = (begin_ns + 5_000_000, begin_ns + 4_000_000, begin_ns + 7_000_000, 0, 0, 0)
    late = (begin_ns + 5_000_000, begin_ns + 8_000_000, begin_ns + 14_000_000, 0, 0, 0)
    statistics.take(0, Chunk(np.array([early, late], np.int64).tobytes(), b"", 0, 0))
    assert (statistics.lag.latency().min_ms, statistics.lag.latency().max_ms) == (0.0, 3.0)
    assert (statistics.response.latency().min_ms, statistics.response.latency().max_ms) == (2.0, 9.0)
    assert (statistics.service.latency().min_ms, statistics.service.latency().max_ms) == (3.0, 6.0)


def test_what_a_stage_outside_the_server_took_is_counted_from_when_a_call_was_sent() -> None:
    statistics = RunStatistics(LOAD, 10.0, 1, None, lambda answer: Timing(500, 500, 1_000, 2_000, batch_size=4))
    begin_ns = time.perf_counter_ns() - 1_000 * SECOND_NS
    statistics.begin(begin_ns)
    sent_ns = begin_ns + 50_000_000  # due 40 ms before
    row = (begin_ns + 10_000_000, sent_ns, sent_ns + 5_000_000, 0, 0, len(b"answer"))
    statistics.take(0, Chunk(np.array([row], np.int64).tobytes(), b"answer", 0, 0))
    timing = statistics.run(statistics.generator(1, 0.0, real_time=False), [], None, None).timing
    assert timing is not None
    assert timing.mean_ms["outside"] == pytest.approx(3.0, rel=0.01)


def test_a_run_stopped_twice_has_ended_the_first_time() -> None:
    statistics = RunStatistics(LOAD, 1_000.0, 1, None, None)
    statistics.begin(time.perf_counter_ns() - 5 * SECOND_NS)
    statistics.stop()
    stopped_s = statistics.seconds
    assert 5.0 <= stopped_s < 1_000.0
    statistics.stop()
    assert statistics.seconds == stopped_s


def test_the_rate_shown_while_it_runs_is_that_of_the_last_seconds() -> None:
    statistics, begin_ns = begun(10.0)
    assert statistics.snapshot().recent_per_s == 0.0
    for tenth in range(1, 51):
        at_ns = begin_ns + tenth * SECOND_NS // 10
        calls = 100 if tenth > 25 else 10
        statistics.take(0, chunk(*[(at_ns - 1_000_000, at_ns, 0)] * calls, at_ns=at_ns))
    assert statistics.snapshot().recent_per_s == pytest.approx(1_000.0, rel=0.05)
