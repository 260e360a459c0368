"""Runs a whole load test: takes a Plan and returns a Report. The only file that knows all the others."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from covey import __version__
from covey.errors import Overloaded
from covey_load import capacity, payloads
from covey_load.measurement import BY_CTRL_C, SCHEMA, Capacity, Load, Report, Run
from covey_load.measuring import Measuring, OnProgress, PreparedRequests
from covey_load.observation import find_listener, find_metrics, require_metrics
from covey_load.payloads import Files
from covey_load.plan import Plan
from covey_load.processes import Generators
from covey_load.protocols import create_protocol
from covey_load.protocols.base import Protocol
from covey_load.remote import Remote
from covey_load.wire.sockets import Endpoint

_MAX_CHECKED = 64  # different requests that are tried before the load
_SEQUENCE = 4_096  # of models by their weights, before it begins anew
_PROBE_SECONDS = 2.0
_PROBE_IN_FLIGHT = 16


def run(
    plan: Plan, on_progress: OnProgress = lambda snapshot: None, goes_on: Callable[[Run], bool] = lambda run: True
) -> Report:
    """Measures what the plan asks for. `on_progress` gets a snapshot twice a second. Where `goes_on` is false of a run,
    those after it are left out.

    Ctrl-C ends the measuring, and so does a server that goes away: the report then holds what was measured until then,
    and `interrupted` says why.

    Raises CoveyError where the load cannot begin: nobody answers at the target, it knows no such model, the payload
    does not fit the model.
    """
    remote = Remote(plan.target, plan.deadline_ms, plan.tls, plan.token)
    protocol = create_protocol(plan.protocol, remote)
    facts, payload_text, prepared = _prepare(plan, protocol, remote)
    if plan.metrics_url is not None:
        require_metrics(plan.metrics_url)
    pid, remarks = _find_server(plan, remote.endpoint)
    metrics_url = plan.metrics_url
    if metrics_url is None:
        metrics_url = find_metrics(remote.endpoint, is_http=plan.protocol.is_http)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    capacity: Capacity | None = None
    runs: list[Run] = []
    with Generators(plan.processes) as generators:
        measuring = Measuring(plan, prepared, generators, on_progress)

        def measure(load: Load, seconds: float) -> Run | None:
            """None where there is nothing to measure any more."""
            if measuring.stopped or measuring.failure:
                return None
            measured = measuring.measure(load, seconds, pid, metrics_url)
            if measured.calls or not (measuring.stopped or measuring.failure):
                runs.append(measured)
            return measured

        with _stopped_by_ctrl_c(measuring.stop):
            for load in plan.loads():
                measured = measure(load, plan.duration_s)
                if measured is not None and not goes_on(measured):
                    break
            if plan.find_capacity:
                capacity = _find_capacity(plan, measure)
    return Report(
        schema=SCHEMA,
        covey_version=__version__,
        started_at=started_at,
        command=plan.command,
        machine=_machine(),
        target=remote.target,
        protocol=plan.protocol,
        models=dict(plan.models),
        payload=payload_text,
        slo_ms=plan.slo_ms,
        seed=plan.seed,
        server=facts,
        runs=runs,
        capacity=capacity,
        remarks=remarks,
        interrupted=_interrupted(measuring),
    )


def why_refused(plan: Plan, calls: int) -> str:
    """What the server says to the first call that it refuses for a limit, of so many at once; "" where it refuses
    none. A load does not read it: answers that it does not decode cost less. Raises CoveyError where it does not
    answer at all."""
    remote = Remote(plan.target, plan.deadline_ms, plan.tls, plan.token)
    protocol = create_protocol(plan.protocol, remote)
    model = next(iter(plan.models))
    model_input = protocol.describe(model)
    payload = payloads.make(plan.payload, plan.images, model_input.shape, model_input.datatype, plan.seed)
    body = protocol.body(model, model_input, payload.batches[0])
    with ThreadPoolExecutor(calls) as pool:
        asked = [pool.submit(protocol.check, model, body) for _ in range(calls)]
    errors = (each.exception() for each in asked)
    return next((error.details for error in errors if isinstance(error, Overloaded)), "")


def _prepare(plan: Plan, protocol: Protocol, remote: Remote) -> tuple[dict[str, str], str, PreparedRequests]:
    """Asks for the models, makes all requests, and tries some. Returns facts of the server, the payload in words, and
    the requests."""
    bodies: list[tuple[str, bytes]] = []
    by_model: dict[str, list[int]] = {}
    facts: dict[str, str] = {}
    payload_texts: list[str] = []
    for model in plan.models:
        model_input = protocol.describe(model)
        payload = payloads.make(plan.payload, plan.images, model_input.shape, model_input.datatype, plan.seed)
        requests = [(model, protocol.body(model, model_input, batch)) for batch in payload.batches]
        checked = _MAX_CHECKED if isinstance(payload.batches[0], Files) else 1  # all pixels are alike
        for _, body in requests[:checked]:
            protocol.check(model, body)
        by_model[model] = list(range(len(bodies), len(bodies) + len(requests)))
        bodies += requests
        facts = facts or model_input.facts
        payload_texts.append(payload.description)
    prepared = PreparedRequests(
        endpoint=remote.endpoint,
        requests=protocol.requests(bodies),
        sequence=_sequence(plan, by_model),
        calls_per_connection=protocol.calls_per_connection,
        read_timing=protocol.read_timing,
    )
    return facts, "; ".join(dict.fromkeys(payload_texts)), prepared


def _sequence(plan: Plan, by_model: dict[str, list[int]]) -> list[int]:
    """The order of the requests: of one model in turn, of several drawn by their weights."""
    if len(by_model) == 1:
        return next(iter(by_model.values()))
    draw = random.Random(plan.seed)
    models = draw.choices(list(plan.models), list(plan.models.values()), k=_SEQUENCE)
    return [draw.choice(by_model[model]) for model in models]


def _find_capacity(plan: Plan, measure: Callable[[Load, float], Run | None]) -> Capacity:
    assert plan.slo_ms is not None
    name = f"concurrency {_PROBE_IN_FLIGHT}, to begin with"
    probe = replace(plan.closed(_PROBE_IN_FLIGHT), name=name)
    first = measure(probe, _PROBE_SECONDS)
    rate = first.calls_per_s / 2 if first is not None else 0.0
    first_per_s = float(f"{rate:.3g}")
    return capacity.search(
        lambda rate, seconds: measure(plan.open(rate), seconds), first_per_s, plan.slo_ms, plan.duration_s
    )


def _find_server(plan: Plan, endpoint: Endpoint) -> tuple[int | None, list[str]]:
    """The id of the server's process, and a remark where a process listens here that is not the server."""
    if plan.server_pid is not None:
        return plan.server_pid, []
    listener = find_listener(endpoint)
    if listener is None:
        return None, []
    if listener.is_forwarder:
        passed_on = f"{listener.name} (process {listener.pid}) listens at the target, and only passes calls on"
        return None, [f"{passed_on}: what the server itself needed is not known; covey load --server-pid names it"]
    return listener.pid, []


def _interrupted(measuring: Measuring) -> str:
    if measuring.stopped:
        return BY_CTRL_C
    return f"the server went away: {measuring.failure}" if measuring.failure else ""


@contextlib.contextmanager
def _stopped_by_ctrl_c(stop: Callable[[], None]) -> Iterator[None]:
    """While entered, the first Ctrl-C ends the measuring in order, a second one at once. Only the main thread can do
    that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _machine() -> dict[str, str]:
    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


def cpu_name() -> str:
    """The name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
