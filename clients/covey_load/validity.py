"""Judges whether the figures of a run can be trusted, and says why not. Pure functions.

A run is invalid where the load generator, and not the server, made the figures: it had no CPU left, sent late, or could
not send all. What a reader should know besides is a warning.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from covey_load.channel import Ended
from covey_load.measurement import Generator, Interval, Latency, Load, ServerMetrics
from covey_proto.wording import plural

MAX_CORE_SHARE = 0.9  # of a generator process, above which it may have been what was measured
MAX_LAG_SHARE = 0.1  # of the response time, at the 99th percentile ...
MIN_LAG_MS = 1.0  # ... where lag is more than this, which any scheduler may add
KEPT_UP_SHARE = 0.5  # of a core: a generator process below it had the time to send all
MAX_UNSENT_SHARE = 0.01  # of the calls that were due
MAX_STANDSTILL_S = 0.5
_MAX_DRIFT = 0.2
_THIRDS = 3


def find_invalid(
    load: Load,
    sent: int,
    response: Latency,
    lag: Latency,
    generator: Generator,
    ends: Sequence[Ended],
) -> list[str]:
    """The reasons why the figures must not be trusted; empty where they may be. `sent` calls belong to the run; `ends`
    are the last messages of the generator processes."""
    reasons = []
    standstill_s = max((end.standstill_s for end in ends), default=0.0)
    if standstill_s > MAX_STANDSTILL_S:
        reasons.append(
            f"the load generator itself did not get to run for {standstill_s:.2g} s: the machine stood still, or "
            f"others took all of its processors"
        )
    share = generator.busiest_core_share
    if share > MAX_CORE_SHARE:
        reasons.append(
            f"the load generator was CPU-bound ({share:.0%} of a core in its busiest process), so the figures are its "
            f"own, not the server's; give it more processes (--processes) or ask for less"
        )
    if load.loop == "closed":
        return reasons
    name, lag_ms, response_ms = _tails_ms(lag, response)
    if lag_ms > max(MIN_LAG_MS, MAX_LAG_SHARE * response_ms):
        late = f"calls were sent {lag_ms:.3g} ms late ({name}), the response time is {response_ms:.3g} ms ({name})"
        reasons.append(f"{late}; {_cause_of_lag(share, ends)}")
    due = sent + sum(end.unsent for end in ends)
    if due - sent > MAX_UNSENT_SHARE * due:
        reasons.append(
            f"only {sent:,} of the {plural(due, 'call')} that were due were sent: the others are in no figure, and "
            f"would have been the slowest"
        )
    return reasons


def _cause_of_lag(core_share: float, ends: Sequence[Ended]) -> str:
    if any(end.was_full for end in ends):
        return "its connections were full, as the server was far behind: more --connections would show by how much"
    if core_share >= KEPT_UP_SHARE:
        return "it could not keep up: lower the rate, or give it more processes (--processes)"
    waited_s = max((end.waited_s for end in ends), default=0.0)
    waited = f" (it waited {waited_s:.2g} s for one)" if waited_s else ""
    return (
        f"it used {core_share:.0%} of a core, and others had the processors when it was to send{waited}: stop what "
        f"else runs there, or measure from another machine"
    )


def find_warnings(
    load: Load,
    calls: int,
    errors: int,
    intervals: Sequence[Interval],
    sending_s: float,
    metrics: ServerMetrics | None,
) -> list[str]:
    """Warnings for readers of the figures. Calls were sent for `sending_s`."""
    warnings = []
    if calls == errors:
        warnings.append("no call succeeded: there are no latencies")
    elif errors:
        warnings.append(f"{errors:,} of {plural(calls, 'call')} failed; latencies are of those that succeeded")
    whole_seconds = [interval for interval in intervals if interval.start_s + 1 <= sending_s]
    warnings += _drift(load, whole_seconds)
    if metrics is not None and metrics.requests != metrics.client_calls:
        warnings.append(
            f"the server counted {plural(metrics.requests, 'request')}, the client {metrics.client_calls:,}: others "
            f"use the server too, or calls were lost on the way"
        )
    return warnings


def _drift(load: Load, intervals: Sequence[Interval]) -> list[str]:
    """Warnings where the thirds of the run differ: then it was too short, or not warmed up."""
    if load.arrival == "ramp" or len(intervals) < 2 * _THIRDS:
        return []
    length = len(intervals) // _THIRDS
    thirds = [intervals[-length * number :][:length] for number in range(_THIRDS, 0, -1)]
    warnings = []
    if load.loop == "closed":
        warnings += _spread(
            "throughput", [statistics.fmean(interval.calls for interval in third) for third in thirds], "/s"
        )
    medians = [[interval.p50_ms for interval in third if interval.p50_ms is not None] for third in thirds]
    if all(medians):
        warnings += _spread("the median response time", [statistics.median(third) for third in medians], " ms")
    return warnings


def _spread(quantity: str, values: Sequence[float], unit: str) -> list[str]:
    if max(values) <= (1 + _MAX_DRIFT) * min(values):
        return []
    thirds = " / ".join(f"{value:,.4g}" for value in values)
    return [f"{quantity} drifted: {thirds}{unit} in the thirds of the run; measure longer, or with more --warm-up"]


def _tails_ms(lag: Latency, response: Latency) -> tuple[str, float, float]:
    """The 99th percentiles, or the highest that the samples of both support, after its name; zeros where none is."""
    for name in ("99", "95", "90", "50"):
        if name in lag.percentiles_ms and (name in response.percentiles_ms or not response.count):
            return f"p{name}", lag.percentiles_ms[name], response.percentiles_ms.get(name, 0.0)
    return "", 0.0, 0.0
