"""The summary: its verdict, its figures, and that it fits 100 columns."""

from __future__ import annotations

from dataclasses import replace

import pytest

from covey_load.measurement import Capacity, Generator, Report, ServerMetrics
from covey_load.reports import words
from covey_load.reports.text import COLUMNS, write_summary

from . import examples

BAD = "the load generator was CPU-bound (98% of a core): what was measured is the generator"


def rows(text: str) -> dict[str, str]:
    """The lines by their first word or words."""
    return {line.split("  ")[0]: " ".join(line.split()) for line in text.splitlines() if line}


def test_one_run() -> None:
    text = write_summary(examples.report(examples.run(goodput_per_s=4_990.0), slo_ms=20.0))

    line_of = rows(text)
    assert text.splitlines()[0] == "VALID"
    assert line_of["target"] == "target lenet at localhost:8001, by covey"
    assert line_of["bound"] == "bound 20 ms; a call answered later is not good"
    assert line_of["load"] == "load concurrency 8, closed loop; 5.00 s after 1.00 s of warm-up"
    assert line_of["throughput"] == "throughput 5,000 calls/s, 5,000 images/s"
    assert line_of["goodput"] == "goodput 4,990 calls/s within the bound"
    assert line_of["errors"] == "errors none"
    assert line_of["LATENCY, MS"] == "LATENCY, MS P50 P90 P99 P99.9 MAX MEAN P99 IS BETWEEN"
    assert line_of["response"] == "response 1.50 3.24 5.73 8.22 13.2 1.74 5.63 to 5.85"
    assert line_of["time goes"] == (
        "time goes mean ms: outside 0.400, decode 0, queue 0.500, compute 0.600; all in the server 1.10"
    )
    assert line_of["batches"].endswith("of 4.96 on average; sizes and their share of the calls: 1: 1.00%, 5: 99.00%")
    assert line_of["generator"].startswith("generator 30.0 us of CPU a call; its busiest process used 40% of a core")
    assert text.count("real-time priority") == 0  # a closed loop needs none
    assert (
        "server 48.6 us of CPU a call, 0.900 cores, at most 98.1 MB of memory (covey-server, process 4242)"
        in " ".join(text.split())
    )
    assert line_of["server counts"].endswith("26,000 requests, the client 26,000, warm-up included: the same")


@pytest.mark.parametrize(("real_time", "expected"), [(True, "with real-time"), (False, "without real-time")])
def test_an_open_loop_says_which_priority_it_had(real_time: bool, expected: str) -> None:
    run = examples.run(load=examples.open_load(500), generator=Generator(1, 4, 30.0, 0.4, real_time))

    assert f"4 connections, {expected} priority)" in " ".join(write_summary(examples.report(run)).split())


def test_percentiles_that_the_samples_do_not_support_are_left_open() -> None:
    latency = examples.latency(1.5, count=200, reach=90)

    line_of = rows(
        write_summary(examples.report(examples.run(response=latency, service=latency, lag=examples.NOTHING)))
    )

    assert line_of["response"] == "response 1.50 3.24 - - 13.2 1.74 -"
    assert line_of["send lag"] == "send lag - - - - - - -"


def test_errors_by_code_and_a_count_that_differs() -> None:
    run = examples.run(
        errors={"UNAVAILABLE": 5, "DEADLINE_EXCEEDED": 120},
        metrics=ServerMetrics(25_000, 26_000, None, {"queue_full": 3}),
        timing=None,
        server_process=None,
    )

    text = write_summary(examples.report(run))
    line_of = rows(text)

    assert line_of["errors"] == "errors 120 DEADLINE_EXCEEDED, 5 UNAVAILABLE (0.50% of the calls)"
    assert line_of["server counts"].endswith("warm-up included: NOT the same; refused: 3")
    assert "queue_full" in text
    assert line_of["time goes"] == "time goes the server's answers do not say"


@pytest.mark.parametrize(
    ("report", "first_line"),
    [
        (examples.report(examples.run(invalid=[BAD])), f"INVALID because {BAD}"),
        (examples.report(), "INVALID because nothing was measured"),
        (examples.report(interrupted="by Ctrl-C"), "INVALID because nothing was measured: ended early by Ctrl-C"),
        (examples.report(examples.run(), interrupted="by Ctrl-C"), "VALID as far as it went (ended early by Ctrl-C)"),
        (
            examples.report(examples.run(), interrupted="the server went away: refused"),
            "VALID as far as it went (ended early: the server went away: refused)",
        ),
        (
            examples.report(*examples.sweep()[:2], replace(examples.sweep()[2], invalid=[BAD])),
            "INVALID because 1 of 3 runs must not be believed: concurrency 64",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_first_line_is_the_verdict(report: Report, first_line: str) -> None:
    assert write_summary(report).splitlines()[0] == first_line


def test_sweep_has_a_row_for_each_step_and_says_what_is_wrong_with_which() -> None:
    steps = examples.sweep()
    steps[2] = replace(steps[2], invalid=[BAD], errors={"UNAVAILABLE": 7}, warnings=["it drifted"])

    text = write_summary(examples.report(*steps))
    lines = text.splitlines()

    starts = [line for line in lines if line.startswith(("1: ", "2: ", "3: "))]
    assert [line.split("  ")[0] for line in starts] == ["1: concurrency 1", "2: concurrency 8", "3: concurrency 64"] * 2
    assert starts[0].endswith("yes")
    assert starts[2].endswith("7  NO")
    assert f"INVALID, concurrency 64: {BAD}"[:90] in text
    assert "Note, concurrency 64: it drifted" in lines
    assert "Errors, concurrency 64: 7 UNAVAILABLE" in lines


def test_capacity_is_valid_though_rates_beyond_it_are_not() -> None:
    tries = [examples.run(load=examples.open_load(2_000)), examples.run(load=examples.open_load(8_000), invalid=[BAD])]
    capacity = Capacity(5_200.0, 20.0, 0.99, [(2_000.0, 1.0), (8_000.0, 0.31), (5_200.0, 0.992)])

    text = write_summary(examples.report(*tries, capacity=capacity))

    assert text.startswith("VALID\n")
    assert text.endswith("Capacity: 5,200 calls/s, the highest rate tried that had 99.00% of the calls within 20 ms.")


def test_capacity_that_the_generator_limits_or_that_is_none() -> None:
    limited = Capacity(5_200.0, 20.0, 0.99, [(5_200.0, 0.992)], [f"at 8000 calls/s {BAD}"])
    none = Capacity(None, 20.0, 0.99, [(100.0, 0.2), (50.0, 0.5)])

    text_of_limited, text_of_none = (
        write_summary(examples.report(*examples.sweep(), capacity=capacity)) for capacity in (limited, none)
    )

    assert f"It may be higher: at 8000 calls/s {BAD}." in " ".join(text_of_limited.split())
    assert "not even the lowest rate tried, 50.0 calls/s" in text_of_none


def test_widest_rows_fit() -> None:
    huge = examples.run(
        2_000.0,
        123_456.0,
        load=examples.open_load(12_345, name="server: 12345/s poisson", repetition=8),
        goodput_per_s=123_456.0,
        timing=examples.timing(12_345.0, 12_345.0, 12_345.0, 12_345.0, 4_096),
        errors={"RESOURCE_EXHAUSTED": 123_456},
        invalid=[BAD * 3],
        warnings=[BAD * 2],
    )
    report = examples.report(
        *[huge] * 12, slo_ms=20_000.0, payload="x" * 60 + " " + "y" * 60, server={"version": "v" * 90}
    )

    for widest in (report, replace(report, runs=[huge])):
        assert max(map(len, write_summary(widest).splitlines())) <= COLUMNS


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    text = write_summary(examples.report(examples.run(), server={"model": "a\x1b[31mb", "device": "c\x1b[2Jd"}))

    assert "\x1b" not in text
    assert r"a\x1b[31mb" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0"),
        (0.00049, "0"),
        (0.0005, "0.001"),
        (0.4823, "0.482"),
        (0.9994, "0.999"),
        (0.9996, "1.00"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (1.5251, "1.53"),
        (15.25, "15.2"),
        (152.5, "152"),
        (15_321.4, "15,321"),
    ],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0.0, "0.00%"), (1e-6, "<0.01%"), (0.1234, "12.34%"), (1 - 1e-6, ">99.99%"), (1.0, "100.00%")],
)
def test_shares_are_nothing_or_all_only_where_they_are(part: float, text: str) -> None:
    assert words.share(part) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 bytes"), (1_000, "1.0 kB"), (98_100_000, "98.1 MB"), (5 * 10**12, "5000.0 GB")]
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count) == text


def test_mix_of_models() -> None:
    assert words.models(examples.report(models={"lenet": 3.0, "vgg": 1.0})) == "lenet 75.00%, vgg 25.00%"
    assert words.models(examples.report(server={})) == "the default model"


def test_tries_beyond_the_capacity_are_overload_and_not_invalid() -> None:
    tries = [
        examples.run(load=examples.load(16, name="concurrency 16, to begin with"), invalid=["it stood still"]),
        examples.run(load=examples.open_load(5_200), invalid=["it stood still"]),
        examples.run(load=examples.open_load(5_200)),
        examples.run(load=examples.open_load(8_000), invalid=["calls were sent late"]),
    ]
    capacity = Capacity(5_200.0, 20.0, 0.99, [(5_200.0, 0.0), (5_200.0, 1.0), (8_000.0, 0.31)])
    text = write_summary(examples.report(*tries, capacity=capacity))
    assert "INVALID" not in text
    assert " NO\n" not in text
    assert "Overload, 8,000/s poisson: calls were sent late" in text
    assert "Set aside, 5,200/s poisson: it stood still" in text
    assert "overload is expected" in text
    (row,) = [line for line in text.splitlines() if line.startswith("4: 8,000/s poisson") and "overload" in line]
    assert row.endswith("overload")
    none = write_summary(examples.report(*tries, capacity=replace(capacity, rate_per_s=None)))
    assert none.startswith("INVALID because 3 of 4 runs must not be believed")


def test_a_path_is_never_broken() -> None:
    path = "/" + "/".join(["a-long-name"] * 20) + "/photos"
    text = write_summary(examples.report(examples.run(), payload=f"2 images of {path}", target=path))
    assert text.count(path) == 2
