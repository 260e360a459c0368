"""The only list of the figures of a run that have names: for `--assert` and for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from covey_load.measurement import Latency, Run, ServerTiming

PERCENTILES = ("50", "90", "99", "99.9")

_UNSUPPORTED = "too few calls were answered for it; measure longer"
_FAILED = "more calls failed than lie beyond it, so of all calls it is not known"
_NO_ANSWER = "no call was answered"
_NO_BOUND = "no bound was given (--slo-ms)"
_NO_TIMING = "the server's answers do not tell it"
_NOT_LOCAL = "the server's process was not seen on this machine"
_NO_CPU_TIME = f"{_NOT_LOCAL}, or the run was too short"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a run.

    `value` answers None where a run does not have it; `absent` says why, and `reason` for one run. `lower` and `higher`
    are what to call a run whose number is lower or higher than another's. `percentile`: which one it is, of all calls.
    """

    name: str
    title: str
    lower: str
    higher: str
    value: Callable[[Run], float | None]
    absent: str = ""
    percentile: str = ""

    def reason(self, run: Run) -> str:
        """Why a run does not have the figure."""
        return _FAILED if self.percentile and _failures_hide(run, self.percentile) else self.absent


def error_count(run: Run) -> int:
    return sum(run.errors.values())


def error_share(run: Run) -> float:
    """The share of the calls that failed; 0 where there were none."""
    return error_count(run) / run.calls if run.calls else 0.0


def batch_size(timing: ServerTiming) -> float | None:
    """The size of the batch that served a call, averaged over the calls."""
    calls = sum(timing.batch_sizes.values())
    return sum(size * count for size, count in timing.batch_sizes.items()) / calls if calls else None


def _amount(name: str, title: str, value: Callable[[Run], float | None], absent: str = "") -> Figure:
    return Figure(name, title, "less", "more", value, absent)


def _rate(name: str, title: str, value: Callable[[Run], float | None], absent: str = "") -> Figure:
    return Figure(name, title, "slower", "faster", value, absent)


def _time(name: str, title: str, value: Callable[[Run], float | None], absent: str) -> Figure:
    return Figure(name, title, "faster", "slower", value, absent)


def _percentile(latency_of: Callable[[Run], Latency], percentile: str) -> Callable[[Run], float | None]:
    return lambda run: None if _failures_hide(run, percentile) else latency_of(run).percentiles_ms.get(percentile)


def _failures_hide(run: Run, percentile: str) -> bool:
    """Whether so many calls failed that the percentile of all calls is one that was never answered. The percentile of
    the others would look the better, the more slow calls ran into their deadlines."""
    return error_share(run) > 1 - float(percentile) / 100


def _if_any_call(latency_of: Callable[[Run], Latency], field: str) -> Callable[[Run], float | None]:
    return lambda run: getattr(latency_of(run), field) if latency_of(run).count else None


def _stage(stage: str) -> Callable[[Run], float | None]:
    return lambda run: run.timing.mean_ms.get(stage) if run.timing else None


def _latencies(prefix: str, title: str, latency_of: Callable[[Run], Latency]) -> Iterator[Figure]:
    yield _time(f"{prefix}mean_ms", f"{title}, mean ms", _if_any_call(latency_of, "mean_ms"), _NO_ANSWER)
    for percentile in PERCENTILES:
        figure = _time(
            f"{prefix}p{percentile}_ms", f"p{percentile} {title}, ms", _percentile(latency_of, percentile), _UNSUPPORTED
        )
        yield replace(figure, percentile=percentile)
    yield _time(f"{prefix}max_ms", f"{title}, largest, ms", _if_any_call(latency_of, "max_ms"), _NO_ANSWER)


def _all() -> Iterator[Figure]:
    yield _amount("calls", "calls", lambda run: run.calls)
    yield _amount("errors", "failed calls", error_count)
    yield _amount("error_share", "failed calls, share", error_share)
    yield _rate("calls_per_s", "calls/s", lambda run: run.calls_per_s)
    yield _rate("images_per_s", "images/s", lambda run: run.images_per_s)
    yield _rate("goodput_per_s", "calls/s within the bound", lambda run: run.goodput_per_s, _NO_BOUND)
    yield from _latencies("", "response", lambda run: run.response)
    yield from _latencies("service_", "service", lambda run: run.service)
    yield from _latencies("lag_", "send lag", lambda run: run.lag)
    for stage, title in (
        ("outside", "outside the server"),
        ("decode", "decode"),
        ("queue", "queue"),
        ("compute", "compute"),
        ("total", "in the server"),
    ):
        yield _time(f"{stage}_ms", f"{title}, mean ms", _stage(stage), _NO_TIMING)
    yield _amount(
        "batch_size", "mean batch size", lambda run: batch_size(run.timing) if run.timing else None, _NO_TIMING
    )
    yield _amount("client_cpu_us", "generator CPU per call, us", lambda run: run.generator.cpu_us_per_call)
    yield _amount("server_cpu_us", "server CPU per call, us", _server("cpu_us_per_call"), _NO_CPU_TIME)
    yield _amount("server_cores", "server, cores used", _server("cores_used"), _NO_CPU_TIME)
    yield _amount("server_memory_bytes", "server memory, bytes", _server("peak_memory_bytes"), _NOT_LOCAL)


def _server(field: str) -> Callable[[Run], float | None]:
    return lambda run: getattr(run.server_process, field) if run.server_process else None


FIGURES = {figure.name: figure for figure in _all()}
