"""What scenarios of closed loops share: servers that take turns, and the rows of what their callers saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.load import PLAIN, Caller, Cost, measure_load, put_load
from bench.processes import Server
from bench.rows import Goal, Row, make_row
from bench.run import Run

MANY = 64  # calls in flight

_FIGURES: dict[str, tuple[str, Callable[[Cost], float]]] = {
    "throughput": ("requests/s", lambda load: load.calls.calls_per_s),
    "latency p50": ("us", lambda load: load.service_us(50)),
    "latency p99": ("us", lambda load: load.service_us(99)),
    "mean batch": ("images", lambda load: load.mean_batch),
    "server CPU": ("us/request", lambda load: load.cpu_us),
    "generator CPU": ("us/request", lambda load: load.calls.cpu_us_per_call),
}


@dataclass(frozen=True)
class Side:
    """A server, and the load that is put on it."""

    server: Server
    messages: Sequence[bytes]
    in_flight: int = MANY
    caller: Caller = PLAIN


def take_turns(
    run: Run, scenario: str, *sides: Side, first: Callable[[], object] = lambda: None, share: float = 1.0
) -> list[list[Cost]]:
    """Loads of `share` of the run's seconds on each side in turn, after one that does not count: the loads of each, by
    round. `first` begins each round."""
    loads: list[list[Cost]] = [[] for _ in sides]
    for side in sides:
        put_load(side.server, side.messages, side.in_flight, share * run.seconds / 2, side.caller)
    for _ in run.each_round(scenario):
        first()
        for side, done in zip(sides, loads, strict=True):
            done.append(measure_load(side.server, side.messages, side.in_flight, share * run.seconds, side.caller))
    return loads


def cpu_row(
    scenario: str, loads: Sequence[Cost], floors: Sequence[float], goal: Goal | None, against: str, per: int = 1
) -> Row:
    """The server's CPU time, by call or by one of the `per` images in each call, beside its floor."""
    values = [load.cpu_us / per for load in loads]
    return make_row(
        scenario, "server CPU", f"us/{'image' if per > 1 else 'request'}", values, floors, goal, against=against
    )


def rows(scenario: str, loads: Sequence[Cost], *figures: str) -> list[Row]:
    """A row for each of the named figures."""
    return [
        make_row(scenario, figure, unit, [value(load) for load in loads])
        for figure in figures
        for unit, value in [_FIGURES[figure]]
    ]
