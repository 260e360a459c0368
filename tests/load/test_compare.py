"""Two reports held against each other: the verdicts, and what is refused."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from covey.errors import InvalidInput
from covey_load import compare
from covey_load.measurement import Report
from covey_load.reports.figures import FIGURES
from covey_load.reports.text import write_comparison
from covey_proto import noise

from . import examples


def repeated(factor: float, repetitions: int = 5, spread: float = 0.02) -> Report:
    """Runs whose latency is `factor` times as long, and that scatter by `spread`."""
    chance = random.Random(f"{factor} {repetitions}")

    def scattered(value: float) -> float:
        return value * chance.uniform(1 - spread, 1 + spread)

    return examples.report(
        *(
            examples.run(scattered(1.5 * factor), scattered(5_000 / factor), load=examples.load(repetition=repetition))
            for repetition in range(repetitions)
        )
    )


def verdicts(first: Report, second: Report) -> dict[str, str]:
    (load,) = compare.compare(first, second).loads
    return {change.figure.name: change.verdict for change in load.changes}


def test_clear_differences_are_named() -> None:
    by_figure = verdicts(repeated(1.0), repeated(0.8))

    assert (by_figure["p50_ms"], by_figure["p99_ms"], by_figure["calls_per_s"]) == ("faster", "faster", "faster")
    assert verdicts(repeated(1.0), repeated(1.2))["p50_ms"] == "slower"


def test_small_differences_are_within_the_noise() -> None:
    by_figure = verdicts(repeated(1.0, spread=0.1), repeated(0.99, spread=0.1))

    assert by_figure["p50_ms"] == by_figure["calls_per_s"] == "within the noise"


@pytest.mark.parametrize(("firsts", "seconds"), [(1, 1), (1, 5), (5, 1)])
def test_one_repetition_knows_no_noise(firsts: int, seconds: int) -> None:
    assert set(verdicts(repeated(1.0, firsts), repeated(0.5, seconds)).values()) == {"noise unknown"}


def test_more_repetitions_tell_smaller_differences() -> None:
    assert verdicts(repeated(1.0, 2), repeated(0.95, 2))["p50_ms"] == "within the noise"
    assert verdicts(repeated(1.0, 10), repeated(0.95, 10))["p50_ms"] == "faster"


def test_amounts_are_more_or_less() -> None:
    server_cpu = FIGURES["server_cpu_us"]

    assert compare.judge(server_cpu, [48.0, 49.0, 48.5], [60.0, 61.0, 60.5]).verdict == "more"
    assert compare.judge(server_cpu, [60.0, 61.0, 60.5], [48.0, 49.0, 48.5]).verdict == "less"


def test_ratio_is_that_of_the_logarithms_with_an_interval_around_it() -> None:
    change = compare.judge(FIGURES["p50_ms"], [1.0, 1.02, 0.98], [2.0, 2.05, 1.95])

    assert change.ratio == pytest.approx(2.0, rel=0.01)
    assert change.interval is not None
    assert 1.7 < change.interval[0] < 1.95
    assert 2.05 < change.interval[1] < 2.3


def test_the_means_are_those_of_the_ratio() -> None:
    change = compare.judge(FIGURES["p50_ms"], [1.0, 4.0], [2.0, 18.0])
    with_zero = compare.judge(FIGURES["error_share"], [0.0, 0.5], [0.1, 0.3])

    assert (change.first, change.second, change.ratio) == pytest.approx((2.0, 6.0, 3.0))
    assert (with_zero.first, with_zero.second) == pytest.approx((0.25, 0.2))


def test_values_of_zero_are_compared_by_their_difference() -> None:
    share = FIGURES["error_share"]

    none = compare.judge(share, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    some = compare.judge(share, [0.0, 0.0, 0.0], [0.20, 0.21, 0.19])

    assert (none.ratio, none.verdict) == (None, "within the noise")
    assert (some.ratio, some.interval, some.verdict) == (None, None, "more")


def test_equal_repetitions_that_differ_by_less_than_can_be_measured() -> None:
    """Histograms have three digits: the same bucket five times over is no certainty."""
    p50 = FIGURES["p50_ms"]

    assert compare.judge(p50, [1.000] * 5, [1.004] * 5).verdict == "within the noise"
    assert compare.judge(p50, [1.000] * 5, [1.006] * 5).verdict == "slower"


def test_interval_is_welchs() -> None:
    """Held against scipy 1.17: ttest_ind(equal_var=False).confidence_interval(0.99) of groups with 4 degrees of
    freedom, where rounding them down changes nothing."""
    interval = noise.difference_interval([1.0, 2.0, 3.0], [3.0, 4.0, 5.0])

    assert interval == pytest.approx((2 - 4.604 * (2 / 3) ** 0.5, 2 + 4.604 * (2 / 3) ** 0.5))
    assert noise.difference_interval([1.0], [3.0, 4.0]) is None


def test_chance_is_seldom_taken_for_a_difference() -> None:
    chance = random.Random(1)

    def group(spread: float) -> list[float]:
        return [chance.gauss(10, spread) for _ in range(4)]

    intervals = [noise.difference_interval(group(1), group(3)) for _ in range(1_000)]
    missed = sum(interval is not None and not interval[0] <= 0 <= interval[1] for interval in intervals)
    assert missed <= 20  # 1 %, and what chance adds


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"payload": "640x480 JPEGs"}, "the payload is another: 28 x 28 .* against 640x480 JPEGs"),
        ({"slo_ms": 20.0}, r"the bound \(--slo-ms\) is another: none against 20 ms"),
        ({"runs": [examples.run(load=examples.load(64))]}, "no load is in both: concurrency 8 against concurrency 64"),
        (
            {"runs": [examples.run(load=examples.load(images_per_call=32))]},
            "no load is in both: concurrency 8 against concurrency 8, 32 images a call",
        ),
    ],
)
def test_what_is_not_comparable_is_refused_unless_asked_for(changed: dict[str, object], message: str) -> None:
    first = repeated(1.0)
    second = replace(repeated(0.8), **changed)  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=f"not comparable: {message}. Measure both alike, or ask .* --anyway"):
        compare.compare(first, second)
    comparison = compare.compare(first, second, anyway=True)
    assert len(comparison.loads) == 1
    assert comparison.loads[0].changes


def test_invalid_runs_are_left_out() -> None:
    first, second = repeated(1.0), repeated(1.0)
    invalid_run = replace(second.runs[0], invalid=["the generator lagged"], calls_per_s=1.0)

    comparison = compare.compare(first, replace(second, runs=[invalid_run, *second.runs[1:]]))

    assert comparison.loads[0].repetitions == (5, 4)
    assert comparison.remarks == ["left out as invalid: 0 runs of the first, 1 of the second"]
    with pytest.raises(InvalidInput, match="the second report has no valid run; measure it anew"):
        compare.compare(first, replace(second, runs=[invalid_run]), anyway=True)


def test_circumstances_are_remarked() -> None:
    first = examples.report(*examples.sweep((1, 8)))
    second = examples.report(*examples.sweep((8, 64)), machine={"cpu": "another"}, models={"vgg": 1.0})

    comparison = compare.compare(first, second)

    assert [load.name for load in comparison.loads] == ["concurrency 8"]
    assert comparison.remarks == [
        "only one report has concurrency 1, concurrency 64",
        "the load came from different machines or Pythons",
        "the models have different names: lenet and vgg",
    ]


def test_text_says_what_the_ratio_is_and_what_the_noise_is_from() -> None:
    first, second = repeated(1.0), repeated(0.8)

    text = write_comparison(("a.json", "b.json"), (first, second), compare.compare(first, second))

    assert "first   a.json: lenet at localhost:8001, by covey" in text
    assert "concurrency 8 (5 runs and 5 runs)" in text
    assert "ratio is second / first" in " ".join(text.split())
    assert "Noise unknown" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("p99 response, ms")]
    assert row.endswith("faster")
    assert max(map(len, text.splitlines())) <= 100
    once = repeated(1.0, 1)
    text_of_one = write_comparison(("a", "b"), (once, once), compare.compare(once, once))
    assert "Noise unknown: with one repetition on a side" in text_of_one
    assert "geometric" not in text_of_one
