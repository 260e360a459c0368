"""The scenarios by name, each with what it should reach: the table of figures that the serving engine was built for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from bench.rows import Goal, Row
from bench.run import Run
from bench.scenarios import (
    footprint,
    many_images,
    options,
    overload,
    peers,
    protocols,
    reload,
    sdk,
    security,
    several_processes,
    single_images,
    turns,
)

Scenario = Callable[[Run], list[Row]]

SCENARIOS: Mapping[str, Scenario] = {
    "lenet": partial(single_images.many_in_flight, model="lenet", goal=Goal(1.4, 1.15)),
    "mnist-cnn": partial(single_images.many_in_flight, model="mnist-cnn", goal=Goal(1.15, 1.05)),
    "latency": partial(single_images.one_in_flight, model="lenet", goal=Goal(1.5, 1.2)),
    "packed": partial(many_images.packed_calls, model="lenet", goal=Goal(1.15, 1.05)),
    "jpeg": partial(many_images.photographs_in_calls, goal=Goal(1.2, 1.08)),
    "five-models": many_images.five_models,
    "fronts": partial(single_images.fronts, model="lenet", goal=Goal(4, 6, at_least=True)),
    "mosec": partial(peers.against_mosec, model="lenet", goal=Goal(0.9, 0.75)),
    "overload": partial(overload.overload, model="mnist-cnn", goal=Goal(0.9, 0.97, at_least=True)),
    "turns": partial(
        turns.turns,
        model="lenet",
        latency_goal=Goal(20, 5),
        deadline_goal=Goal(95, 99, at_least=True),
        bulk_goal=Goal(0.9, at_least=True),
    ),
    "reload": partial(reload.reload, model="lenet", failures_goal=Goal(0, 0), latency_goal=Goal(2.0, 1.3)),
    "memory": partial(footprint.memory, model="lenet", goal=Goal(150)),
    "start": partial(footprint.start, goal=Goal(2.5, 1.2)),
    "processes": partial(several_processes.against_one, model="lenet"),
    "open-inference": partial(protocols.open_inference, model="lenet", goal=Goal(1.15)),
    "tokens": partial(security.tokens, model="lenet", goal=Goal(1.02)),
    "tls": partial(security.tls, model="lenet"),
    "options": partial(options.options, model="lenet"),
    "edge": partial(security.edge, model="lenet", goal=Goal(0.6, 0.5)),
    "sdk-coalesce": partial(sdk.coalescing, model="lenet", goal=Goal(5, at_least=True), lone_goal=Goal(1.05)),
    "sdk-call": partial(sdk.calls, model="lenet", goal=Goal(1.2)),
    "sdk-many": partial(sdk.long_runs, model="lenet"),
}
