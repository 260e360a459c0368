"""The page: what it holds for each kind of report."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
from tests.reports.pages import Page, assert_self_contained, needs_browser, open_in_browser, pictures

from covey.errors import InvalidInput
from covey_load.measurement import Capacity, Interval, Report
from covey_load.reports import page
from covey_load.reports.charts import selection

from . import examples

STRANGE = '<script>alert("1")</script>&amp;'
CAPACITY = Capacity(5_200.0, 20.0, 0.99, [(2_000.0, 1.0), (8_000.0, 0.31), (5_200.0, 0.992)])
GAPS = [
    Interval(0.0, 10, 0, 1.0, 2.0, 3.0),
    Interval(1.0, 10, 10, None, None, None),
    Interval(3.0, 1, 0, 1.0, None, 1.0),
]
BARE = examples.run(timing=None, server_process=None, metrics=None)
SILENT = examples.run(
    calls_per_s=0.0,
    response=examples.NOTHING,
    service=examples.NOTHING,
    lag=examples.NOTHING,
    intervals=GAPS[1:2],
    timing=None,
)
ONE = ["over-time", "percentiles", "time-goes", "batch-sizes"]

REPORTS: dict[str, tuple[Report, list[str]]] = {
    "one run": (examples.report(examples.run()), ONE),
    "a sweep": (examples.report(*examples.sweep()), ["throughput", *ONE]),
    "more runs than a chart has room for": (
        examples.report(*examples.sweep(tuple(range(1, 13)))),
        ["throughput", *ONE],
    ),
    "a capacity": (
        examples.report(examples.run(), examples.run(load=examples.open_load(5_200)), capacity=CAPACITY),
        ["capacity", "throughput", *ONE],
    ),
    "a server that tells nothing": (examples.report(BARE, BARE), ["throughput", "over-time", "percentiles"]),
    "seconds without an answer": (examples.report(replace(BARE, intervals=GAPS)), ["over-time", "percentiles"]),
    "few samples": (
        examples.report(replace(BARE, response=examples.latency(1.0, 30, 50))),
        ["over-time", "percentiles"],
    ),
    "no answer at all": (examples.report(SILENT), []),
    "one that answers and one that does not": (
        examples.report(BARE, SILENT),
        ["over-time", "percentiles"],
    ),
    "nothing": (examples.report(interrupted="by Ctrl-C", capacity=replace(CAPACITY, rate_per_s=None, tried=[])), []),
}


@functools.cache
def page_of(name: str) -> str:
    """The page of one of these reports, drawn once."""
    return page.write_page(REPORTS[name][0])


@pytest.mark.parametrize("name", REPORTS)
def test_every_kind_of_report(name: str) -> None:
    """Warnings of matplotlib are errors here."""
    text, expected = page_of(name), REPORTS[name][1]

    assert pictures(text) == expected
    assert text.count("<figcaption>") == len(expected)
    assert_self_contained(text)
    assert len(text) < 3_000_000


def test_figures_and_how_they_were_measured() -> None:
    steps = examples.sweep()
    steps[2] = replace(steps[2], invalid=["the generator was CPU-bound"])

    texts = Page(page.write_page(examples.report(*steps))).texts

    assert "INVALID because 1 of 3 runs must not be believed: concurrency 64" in texts
    assert "INVALID, concurrency 64: the generator was CPU-bound" in texts
    for text in ("3: concurrency 64", "21,053", "3.50", "covey load localhost:8001", "calls/s at concurrency 8"):
        assert text in texts
    assert texts.count("NO") == 1


def test_runs_that_a_chart_has_no_room_for() -> None:
    """At even distances, the first and the last among them; and it is said."""
    runs = list(range(1, 41))

    assert selection.choose(runs, 5) == [1, 11, 21, 30, 40]
    assert selection.choose(runs[:5], 5) == runs[:5]
    assert selection.left_out(runs, runs[:5]) == " Shown are 5 of the 40 runs."
    assert selection.left_out(runs, runs) == ""


def test_foremost_figures_are_those_at_the_capacity() -> None:
    texts = Page(page_of("a capacity")).texts

    assert texts[texts.index("capacity, calls/s") + 1] == "5,200"
    assert "calls/s at 5,200/s poisson" in texts


def test_nothing_in_a_report_becomes_part_of_the_page() -> None:
    hostile = examples.run(load=examples.load(name=STRANGE), errors={STRANGE: 1}, invalid=[STRANGE], warnings=[STRANGE])
    report = examples.report(
        hostile, hostile, target=STRANGE, payload=STRANGE, server={"model": STRANGE}, interrupted=STRANGE
    )

    document = Page(page.write_page(report))

    assert "script" not in {tag for tag, _ in document.tags}
    assert f"INVALID, {STRANGE}: {STRANGE}" in document.texts


def test_same_report_same_page_for_light_and_dark(tmp_path: Path) -> None:
    """Ink takes the page's colour; no chart brings a background of its own."""
    page.write(tmp_path / "a.html", REPORTS["one run"][0])
    text = (tmp_path / "a.html").read_text()

    assert text == page_of("one run")
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert "#0a0b0c" not in text
    with pytest.raises(InvalidInput, match="cannot be written"):
        page.write(tmp_path / "missing" / "a.html", examples.report())


@needs_browser
def test_browser_shows_the_page_without_a_complaint(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(page_of("a capacity"), encoding="utf-8")

    document = open_in_browser(tmp_path / "a.html", tmp_path)

    assert document.count('<svg role="img"') == len(REPORTS["a capacity"][1])
    assert "</footer>" in document
