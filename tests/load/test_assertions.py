"""`--assert`: its grammar, and what it demands of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey.errors import InvalidInput
from covey_load import assertions
from covey_load.measurement import Capacity, Run
from covey_load.reports.figures import FIGURES

from . import examples


def failures(text: str, *runs: Run) -> list[str]:
    return assertions.failures(assertions.parse(text), examples.report(*runs))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("p99_ms<20", ["p99_ms < 20"]),
        ("p99.9_ms<=20.5,errors==0", ["p99.9_ms <= 20.5", "errors == 0"]),
        (" calls_per_s >= 5e3 , lag_p99_ms > -1 ", ["calls_per_s >= 5000", "lag_p99_ms > -1"]),
    ],
)
def test_grammar(text: str, expected: list[str]) -> None:
    assert [str(assertion) for assertion in assertions.parse(text)] == expected


def test_a_percentile_beyond_which_more_calls_failed_cannot_be_judged() -> None:
    run = examples.run()
    failed = replace(run, errors={"DEADLINE_EXCEEDED": run.calls // 50})
    (sentence,) = failures("p99_ms<1e6,p90_ms<1e6", failed)
    assert sentence.endswith("cannot be judged: more calls failed than lie beyond it, so of all calls it is not known")
    assert failures("p99_ms<1e6", replace(run, errors={"DEADLINE_EXCEEDED": run.calls // 200})) == []


@pytest.mark.parametrize(
    "text", ["", "p99_ms", "p99_ms<", "p99_ms=20", "p99_ms!=20", "p99_ms<20,", "<20", "p99_ms<nan"]
)
def test_what_is_no_assertion_is_told_what_one_looks_like(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"is no assertion; expected FIGURE<NUMBER.*such as p99_ms<20,errors==0"):
        assertions.parse(text)


def test_unknown_figure_lists_those_there_are() -> None:
    with pytest.raises(
        InvalidInput, match=r"no figure 'p98_ms'; there are calls, .*p50_ms.*, server_memory_bytes, capacity_per_s"
    ):
        assertions.parse("p98_ms<20")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("calls_per_s<5000", False),
        ("calls_per_s<=5000", True),
        ("calls_per_s==5000", True),
        ("calls_per_s>=5000", True),
        ("calls_per_s>5000", False),
    ],
)
def test_operators_at_the_bound(text: str, holds: bool) -> None:
    assert (failures(text, examples.run(calls_per_s=5_000)) == []) is holds


def test_failure_names_the_run_the_demand_and_the_figure() -> None:
    assert failures("errors==0,error_share<=0.01", examples.run(calls_per_s=100, errors={"UNAVAILABLE": 5})) == [
        "concurrency 8: errors == 0 does not hold: it is 5",
    ]


def test_must_hold_for_each_run_of_a_sweep() -> None:
    sentences = failures("p50_ms<1", *examples.sweep((1, 8, 64)))

    assert sentences == ["concurrency 64: p50_ms < 1 does not hold: it is 3.5"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("p99_ms<20", "too few calls were answered for it; measure longer"),
        ("goodput_per_s>1", "no bound was given (--slo-ms)"),
        ("queue_ms<1", "the server's answers do not tell it"),
        ("server_cpu_us<1", "the server's process was not seen on this machine, or the run was too short"),
        ("server_memory_bytes<1", "the server's process was not seen on this machine"),
    ],
)
def test_figure_that_a_run_does_not_have_fails_with_the_reason(text: str, reason: str) -> None:
    run = examples.run(response=examples.latency(1.0, count=200, reach=90), timing=None, server_process=None)

    (sentence,) = failures(text, run)

    assert sentence.startswith("concurrency 8: ")
    assert sentence.endswith(f"cannot be judged: {reason}")


def test_report_without_runs_keeps_to_nothing() -> None:
    assert failures("errors==0") == ["errors == 0 cannot be judged: nothing was measured"]


def test_capacity_is_of_the_whole_report() -> None:
    asserted = assertions.parse("capacity_per_s>=5000")
    capacity = Capacity(5_200.0, 20.0, 0.99, [(5_200.0, 1.0)])

    assert assertions.failures(asserted, examples.report(examples.run(), capacity=capacity)) == []
    assert assertions.failures(
        asserted, examples.report(examples.run(), capacity=replace(capacity, rate_per_s=4_900.0))
    ) == ["capacity_per_s >= 5000 does not hold: it is 4,900"]
    for none in (None, replace(capacity, rate_per_s=None)):
        (sentence,) = assertions.failures(asserted, examples.report(examples.run(), capacity=none))
        assert "cannot be judged: no rate held, or none was searched for (--find-capacity)" in sentence


def test_every_figure_reads_a_number_of_a_full_run() -> None:
    full = examples.run(goodput_per_s=4_999.0)

    assert {name for name, figure in FIGURES.items() if figure.value(full) is None} == set()


def test_no_figure_of_latency_where_no_call_was_answered() -> None:
    run = examples.run(response=examples.NOTHING, service=examples.NOTHING, lag=examples.NOTHING)

    latencies = [name for name, figure in FIGURES.items() if figure.value(run) is None and name != "goodput_per_s"]
    assert len(latencies) == 18
    assert {"p50_ms", "max_ms", "service_mean_ms", "lag_p99_ms"} <= set(latencies)


def test_what_holds_is_said_with_its_figure() -> None:
    asserted = assertions.parse("calls_per_s>=1000,errors==0,calls_per_s<10")
    assert assertions.passes(asserted, examples.report(examples.run(calls_per_s=5_000))) == [
        "concurrency 8: calls_per_s >= 1000 holds: it is 5,000",
        "concurrency 8: errors == 0 holds: it is 0",
    ]
