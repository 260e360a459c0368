"""When a run is not to be believed, on both sides of each bound; and what is only worth saying."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.load.examples import latency

from covey_load import validity
from covey_load.channel import Ended
from covey_load.measurement import Generator, Interval, Latency, Load, ServerMetrics

OPEN = Load("500/s poisson", "open", None, 500.0, "poisson", None, 1, 2.0)
ENDED = Ended()
CLOSED = replace(OPEN, name="concurrency 8", loop="closed", concurrency=8, rate_per_s=None, arrival=None)


def times(p99_ms: float, count: int = 5_000) -> Latency:
    return replace(latency(1.0, count), percentiles_ms={"50": p99_ms / 2, "95": p99_ms, "99": p99_ms})


def invalid(
    load: Load = OPEN,
    *,
    lag_ms: float = 0.1,
    response_ms: float = 5.0,
    core_share: float = 0.3,
    sent: int = 5_000,
    end: Ended = ENDED,
) -> list[str]:
    generator = Generator(1, 4, 30.0, core_share)
    return validity.find_invalid(load, sent, times(response_ms), times(lag_ms), generator, [ENDED, end])


def test_a_generator_that_kept_up_is_believed() -> None:
    assert invalid() == invalid(CLOSED) == []


@pytest.mark.parametrize("load", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_generator_without_cpu_left_is_not(load: Load) -> None:
    assert invalid(load, core_share=0.9) == []
    (reason,) = invalid(load, core_share=0.91)
    assert reason.startswith("the load generator was CPU-bound (91% of a core")


@pytest.mark.parametrize("load", [OPEN, CLOSED], ids=["open", "closed"])
def test_a_generator_that_stood_still_is_not(load: Load) -> None:
    """A machine that is frozen for a while looks like a server that does not answer."""
    assert invalid(load, end=Ended(standstill_s=0.5)) == []
    (reason,) = invalid(load, end=Ended(standstill_s=25.7))
    assert reason.startswith("the load generator itself did not get to run for 26 s")


def test_calls_that_were_sent_late_make_an_open_loop_invalid() -> None:
    assert invalid(lag_ms=1.0) == []  # whatever the server: a scheduler may add that
    assert invalid(lag_ms=2.0, response_ms=20.0) == []
    (reason,) = invalid(lag_ms=2.1, response_ms=20.0, core_share=0.5)
    assert reason.startswith(
        "calls were sent 2.1 ms late (p99), the response time is 20 ms (p99); it could not keep up"
    )
    (reason,) = invalid(lag_ms=2.1, response_ms=20.0, core_share=0.07, end=Ended(waited_s=1.42))
    assert "it used 7% of a core, and others had the processors when it was to send (it waited 1.4 s for one)" in reason
    (reason,) = invalid(lag_ms=2.1, response_ms=20.0, end=Ended(was_full=True))
    assert "its connections were full" in reason
    assert invalid(CLOSED, lag_ms=20.0) == []


def test_calls_that_were_due_and_not_sent_make_an_open_loop_invalid() -> None:
    assert invalid(sent=4_950, end=Ended(unsent=50)) == []
    (reason,) = invalid(sent=4_949, end=Ended(unsent=51))
    assert reason.startswith("only 4,949 of the 5,000 calls that were due were sent")
    assert invalid(sent=0, end=Ended()) == []


def test_with_few_samples_the_percentile_that_both_support_counts() -> None:
    response = replace(times(5.0), percentiles_ms={"50": 1.0})
    generator = Generator(1, 4, 30.0, 0.1)
    assert validity.find_invalid(OPEN, 30, response, response, generator, [ENDED]) == []
    late = replace(response, percentiles_ms={"50": 3.0})
    (reason,) = validity.find_invalid(OPEN, 30, response, late, generator, [ENDED])
    assert "3 ms late (p50)" in reason


def intervals(*p50_ms: float, calls: int = 100) -> list[Interval]:
    return [Interval(float(second), calls, 0, p50, p50, p50) for second, p50 in enumerate(p50_ms)]


def test_warnings_say_what_drifted() -> None:
    steady, rising = [1.0, 1.1, 1.0, 1.1, 1.0, 1.1], [1.0, 1.0, 1.1, 1.1, 1.3, 1.3]
    assert validity.find_warnings(OPEN, 600, 0, intervals(*steady), 6.0, None) == []
    (warning,) = validity.find_warnings(OPEN, 600, 0, intervals(*rising), 6.0, None)
    assert warning.startswith("the median response time drifted: 1 / 1.1 / 1.3 ms")
    slowing = [replace(interval, calls=100 - 10 * place) for place, interval in enumerate(intervals(*steady))]
    (warning,) = validity.find_warnings(CLOSED, 600, 0, slowing, 6.0, None)
    assert warning.startswith("throughput drifted: 95 / 75 / 55/s")
    assert validity.find_warnings(replace(OPEN, arrival="ramp"), 600, 0, intervals(*rising), 6.0, None) == []
    assert validity.find_warnings(OPEN, 600, 0, intervals(*rising)[:5], 5.0, None) == []  # too short to tell


def test_a_second_that_was_not_whole_is_no_drift() -> None:
    seconds = intervals(1.0, 1.1, 1.0, 1.1, 1.0, 1.1, 9.0)
    seconds[-1] = replace(seconds[-1], calls=20)
    assert validity.find_warnings(CLOSED, 620, 0, seconds, 6.2, None) == []
    assert len(validity.find_warnings(CLOSED, 620, 0, seconds, 7.0, None)) == 2


def test_warnings_say_what_failed_and_whose_counts_differ() -> None:
    (warning,) = validity.find_warnings(OPEN, 600, 7, [], 6.0, None)
    assert warning == "7 of 600 calls failed; latencies are of those that succeeded"
    (warning,) = validity.find_warnings(OPEN, 600, 600, [], 6.0, None)
    assert warning == "no call succeeded: there are no latencies"
    assert validity.find_warnings(OPEN, 600, 0, [], 6.0, ServerMetrics(700, 700, None, {})) == []
    (warning,) = validity.find_warnings(OPEN, 600, 0, [], 6.0, ServerMetrics(701, 700, None, {}))
    assert warning.startswith("the server counted 701 requests, the client 700")
