"""The report as a page of charts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from covey_load.measurement import Report, Run
from covey_load.reports import facts, json_file, tables, verdict, words
from covey_load.reports.charts.batch_sizes import draw_batch_sizes
from covey_load.reports.charts.capacity import draw_capacity
from covey_load.reports.charts.over_time import draw_over_time
from covey_load.reports.charts.percentile_curve import draw_percentile_curve
from covey_load.reports.charts.throughput import draw_throughput
from covey_load.reports.charts.time_goes import draw_time_goes
from covey_load.reports.figures import FIGURES, error_count
from covey_load.reports.words import number
from covey_reports import canvas
from covey_reports import page as pages
from covey_reports.canvas import Picture


def write(path: Path, report: Report) -> None:
    """Replaces `path` by the page in one step. Raises InvalidInput where it cannot be written."""
    json_file.write_text(path, write_page(report))


@canvas.style()
def write_page(report: Report) -> str:
    """The whole file. Nothing in the report can become part of the page other than as text."""
    runs = report.runs
    one = runs[0] if len(runs) == 1 else None
    return pages.write_page(
        "covey_load.reports",
        "page.html.jinja",
        title=f"Load test of {words.models(report)}",
        subtitle=f"{report.target}, by {report.protocol}; {report.started_at}, covey {report.covey_version}",
        verdict=verdict.sentence(report),
        is_valid=verdict.is_valid(report),
        foremost=_lead(report),
        remarks=facts.remarks(report),
        facts=[facts.throughput(one), facts.inside(one)] if one else [],
        tables=_tables(report),
        invalid=[] if one else [index for index, run in enumerate(runs) if run in verdict.invalid_runs(report)],
        charts=list(_charts(report)),
        surroundings=[*facts.about(report), *facts.surroundings(report)],
    )


def _tables(report: Report) -> list[tables.Table]:
    runs = report.runs
    if len(runs) == 1:
        return [tables.latency(runs[0])]
    return [tables.steps(runs, report.capacity), tables.insides(runs)] if runs else []


def _lead(report: Report) -> list[tuple[str, str]]:
    """The few figures that people look for first."""
    if not report.runs:
        return []
    shown = _foremost(report)
    rate = f"calls/s at {words.load_name(shown.load)}" if len(report.runs) > 1 else "calls/s"
    named = [("calls_per_s", rate), ("p50_ms", "p50, ms"), ("p99_ms", "p99, ms"), ("batch_size", "mean batch")]
    return [
        *([("capacity, calls/s", number(report.capacity.rate_per_s))] if report.capacity else []),
        *((title, number(FIGURES[name].value(shown))) for name, title in named),
        ("failed calls", f"{sum(map(error_count, report.runs)):,}"),
    ]


def _foremost(report: Report) -> Run:
    """The run at the capacity where one was found, else the valid one with the most answers."""
    capacity = report.capacity.rate_per_s if report.capacity else None
    at_capacity = [run for run in report.runs if capacity is not None and run.load.rate_per_s == capacity]
    return max(at_capacity or report.runs, key=lambda run: (not run.invalid, run.calls_per_s))


def _charts(report: Report) -> Iterator[tuple[str, str, Picture]]:
    """Heading, text and picture of each chart that the report has figures for."""
    runs = report.runs
    answered = [run for run in runs if run.response.count]
    if report.capacity and report.capacity.tried:
        yield "Capacity", facts.capacity(report.capacity), draw_capacity(report.capacity)
    if len(answered) > 1:
        yield "Throughput against latency", "", draw_throughput(runs)
    if any(interval.p50_ms is not None for run in runs for interval in run.intervals):
        yield "Latency over time", "", draw_over_time(runs)
    if answered:
        yield "Percentiles", "", draw_percentile_curve(runs)
    if any(run.timing for run in runs):
        yield "Where the time goes", "", draw_time_goes(runs)
    if any(run.timing and run.timing.batch_sizes for run in runs):
        yield "Batch sizes", "", draw_batch_sizes(runs)
