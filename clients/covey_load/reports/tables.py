"""The tables of a report, in words: the same columns in the summary and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from covey_load.measurement import Capacity, Latency, Run
from covey_load.reports import verdict, words
from covey_load.reports.facts import STAGES
from covey_load.reports.figures import FIGURES, PERCENTILES, error_count
from covey_load.reports.words import number


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` have as many cells as `header`; the first names the row, all others hold numbers or one word."""

    header: list[str]
    rows: list[list[str]]


def latency(run: Run) -> Table:
    """The three distributions of one run. `-` stands where too few calls were answered for a percentile."""
    header = ["latency, ms", *(f"p{percentile}" for percentile in PERCENTILES), "max", "mean", "p99 is between"]
    latencies = {"response": run.response, "service": run.service, "send lag": run.lag}
    return Table(header, [_latency_row(name, of) for name, of in latencies.items()])


def steps(runs: Sequence[Run], capacity: Capacity | None = None) -> Table:
    """The figures that callers see, a row for each run."""
    goodput = [("goodput/s", "goodput_per_s")] if any(run.goodput_per_s is not None for run in runs) else []
    columns = [
        ("calls/s", "calls_per_s"),
        *goodput,
        *((f"p{percentile}", f"p{percentile}_ms") for percentile in PERCENTILES),
    ]
    header = ["run; latency in ms", *(title for title, _ in columns), "errors", "valid"]
    rows = [
        [
            run_name,
            *(number(FIGURES[name].value(run)) for _, name in columns),
            f"{error_count(run):,}",
            str(verdict.standing(run, capacity)),
        ]
        for run_name, run in zip(words.numbered_names(runs), runs, strict=True)
    ]
    return Table(header, rows)


def insides(runs: Sequence[Run]) -> Table:
    """The stages of a call and the costs of both ends, a row for each run."""
    columns = [
        *((stage, f"{stage}_ms") for stage in STAGES),
        ("batch", "batch_size"),
        ("client us", "client_cpu_us"),
        ("server us", "server_cpu_us"),
        ("cores", "server_cores"),
    ]
    rows = [
        [run_name, *(number(FIGURES[name].value(run)) for _, name in columns)]
        for run_name, run in zip(words.numbered_names(runs), runs, strict=True)
    ]
    return Table(["run; mean in ms", *(title for title, _ in columns)], rows)


def _latency_row(name: str, latency: Latency) -> list[str]:
    percentiles = [number(latency.percentiles_ms.get(percentile)) for percentile in PERCENTILES]
    others = [number(value if latency.count else None) for value in (latency.max_ms, latency.mean_ms)]
    return [name, *percentiles, *others, words.interval(latency.p99_interval_ms)]
