"""What each option that watches calls, answers or callers costs: a server with it, by turns with the same without."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import samples
from bench.load import Caller
from bench.processes import Server
from bench.rows import Row, make_row
from bench.run import Run
from bench.scenarios.rounds import MANY, Side, cpu_row, take_turns
from bench.trace import Collector, collecting

CONNECTIONS = 16  # a canary's callers are told apart by their connections
TRACED_SHARE = 0.01
_AGAINST = "the same without"
_TOKEN = "a-token-as-long-as-those-that-generators-make-0123456789abcdef"
_CANARY = ("--canary-share", "0.5", "--canary-window-s", "1000000")  # nothing is decided during the run


@dataclass(frozen=True)
class _Option:
    """`flags` go to the server with the option, `base` to both; `FOLDER` in them becomes a folder of the scenario's
    own. With `choice`, a file of that name chooses version 2, a copy of version 1."""

    name: str
    flags: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    choice: str = ""
    is_traced: bool = False


OPTIONS = (
    _Option("the same again"),  # the noise
    _Option("--access-log errors", ("--access-log", "errors")),
    _Option("--access-log sampled", ("--access-log", "sampled")),
    _Option("--access-log all", ("--access-log", "all")),
    _Option(f"traces of {TRACED_SHARE:.0%}", is_traced=True),
    _Option("--capture, of 0.1%", ("--capture", "FOLDER/captures", "--capture-below", "0")),
    _Option("--capture, and of the uncertain", ("--capture", "FOLDER/captures")),
    _Option("shadow of 10%", choice="shadow-version"),
    _Option("shadow of all", ("--shadow-share", "1"), choice="shadow-version"),
    _Option("canary for half", _CANARY, choice="canary-version"),
    _Option("--limits-file", ("--limits-file", "FOLDER/limits.toml"), ("--auth-token-file", "FOLDER/tokens")),
)


def options(run: Run, model: str) -> list[Row]:
    """Server CPU per request and throughput with many in flight, and latency of a lone request, with each option."""
    return [row for option in OPTIONS for row in _measure(run, model, option)]


def _measure(run: Run, model: str, option: _Option) -> list[Row]:
    messages = samples.golden_messages(model, run.models.file(model))
    folder = run.folder()
    _write_principals(folder)
    caller = Caller(connections=CONNECTIONS, token=_TOKEN if option.base else "")
    lone = Caller(token=caller.token)
    scenario = f"{model}, {option.name}"
    with ExitStack() as stack:
        environment = {}
        if option.is_traced:
            address = stack.enter_context(collecting(Collector()))
            environment = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": address,
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(TRACED_SHARE),
            }

        def start(flags: Sequence[str], choice: str = "", environment: dict[str, str] | None = None) -> Server:
            models = run.models.copy([model], run.folder())
            if choice:
                _choose(models / model, choice)
            given = [flag.replace("FOLDER", str(folder)) for flag in flags]
            return stack.enter_context(run.server_of(models, flags=given, environment=environment))

        plain = start(option.base)
        server = start((*option.base, *option.flags), option.choice, environment)
        sides = [Side(each, messages, caller=caller) for each in (plain, server)]
        without, loads = take_turns(run, f"{scenario}, {MANY} in flight", *sides)
        sides = [Side(each, messages, 1, lone) for each in (plain, server)]
        lone_without, lone_loads = take_turns(run, f"{scenario}, 1 in flight", *sides, share=0.5)
    many, one = f"{scenario}, {MANY} in flight", f"{scenario}, 1 in flight"
    without_us = [load.cpu_us for load in without]
    without_rates, rates = ([load.calls.calls_per_s for load in side] for side in (without, loads))
    without_p50, p50 = ([load.service_us(50) for load in side] for side in (lone_without, lone_loads))
    return [
        cpu_row(many, loads, without_us, None, _AGAINST),
        make_row(many, "throughput", "requests/s", rates, without_rates, against=_AGAINST),
        make_row(one, "latency p50", "us", p50, without_p50, against=_AGAINST),
    ]


def _choose(folder: Path, choice: str) -> None:
    """Version 2 is the same file, so that it agrees and is as fast; version 1 stays the default one."""
    (folder / "2").mkdir()
    (folder / "2" / "model.onnx").hardlink_to(folder / "1" / "model.onnx")
    (folder / "default-version").write_text("1\n")
    (folder / choice).write_text("2\n")


def _write_principals(folder: Path) -> None:
    """The token's limits are far above what it sends: what is measured is the counting."""
    tokens = folder / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(_TOKEN)
    principal = f"token:{hashlib.sha256(_TOKEN.encode()).hexdigest()[:12]}"
    limits = "images_per_s = 1000000\nrequests_per_s = 1000000\nin_flight = 1000"
    (folder / "limits.toml").write_text(f'[callers]\nprincipals = ["{principal}"]\n{limits}\n')
