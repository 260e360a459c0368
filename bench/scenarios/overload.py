"""More calls than the server can answer, at random moments and with deadlines: how many of the answers that the
hardware can give come in time."""

from __future__ import annotations

from collections import Counter

from bench import samples
from bench.load import OpenLoad, open_load, put_load
from bench.rows import Goal, Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY

DEADLINE_MS = 50
OVERLOADS = (1.5, 3.0)  # arrivals / capacity


def overload(run: Run, model: str, goal: Goal) -> list[Row]:
    """Answers in time per second, against what the closed loop got just before; Poisson arrivals."""
    messages = samples.golden_messages(model, run.models.file(model))
    capacities: list[float] = []
    loads: dict[float, list[OpenLoad]] = {factor: [] for factor in OVERLOADS}
    with run.server([model]) as server:
        put_load(server, messages, MANY, run.seconds)
        for number in run.each_round(f"{model}, overload"):
            capacity = put_load(server, messages, MANY, run.seconds).calls_per_s
            capacities.append(capacity)
            for factor, done in loads.items():
                with open_load(
                    server,
                    messages,
                    rate=capacity * factor,
                    seconds=run.seconds,
                    timeout_s=DEADLINE_MS / 1000,
                    seed=number,
                ) as running:
                    done.append(running.finish())
    rows = [make_row(f"{model}, closed loop, {MANY} in flight", "capacity", "requests/s", capacities)]
    for factor, done in loads.items():
        rows += _rows(f"{model}, Poisson, {factor:g} x capacity, {DEADLINE_MS} ms", done, run.seconds, capacities, goal)
    return rows


def _rows(scenario: str, loads: list[OpenLoad], seconds: float, capacities: list[float], goal: Goal) -> list[Row]:
    in_time = [load.in_time(DEADLINE_MS) / seconds for load in loads]
    note = next((load.flaw for load in loads if load.flaw), "")
    ends: Counter[str] = Counter()
    for load in loads:
        ends.update(load.calls.by_status())
    shares = {
        code: [100 * load.calls.by_status()[code] / max(load.calls.calls, 1) for load in loads] for code in sorted(ends)
    }
    lags = [load.lag_p99_ms for load in loads]
    generator = [load.calls.cpu_us_per_call for load in loads]
    against = "throughput of the closed loop just before"
    return [
        make_row(scenario, "answers in time", "answers/s", in_time, capacities, goal, against=against, note=note),
        *(make_row(scenario, f"ended {code}", "% of calls", share) for code, share in shares.items()),
        make_row(scenario, "latency p50 of the answered", "ms", [load.percentile_ms(50) for load in loads]),
        make_row(scenario, "latency p99 of the answered", "ms", [load.percentile_ms(99) for load in loads]),
        make_row(scenario, "calls sent late by, p99", "ms", lags),
        make_row(scenario, "generator CPU", "us/request", generator),
    ]
