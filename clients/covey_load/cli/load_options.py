"""The options of `covey load` that say what to measure. They become a Plan."""

from __future__ import annotations

import argparse
import contextlib
import math
import shlex
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from covey.cli import connection
from covey.connection import DEFAULT_HTTP_TARGET, DEFAULT_TARGET, is_url
from covey.errors import InvalidInput
from covey_load.plan import DEFAULT_SECONDS, DEFAULT_WARM_UP_S, Arrival, Plan, ProtocolName, Scenario

T = TypeVar("T", int, float)

_RANGE = ".."
_AS_THEY_ARE = (  # options that are Plan's fields
    *("arrival", "scenario", "find_capacity", "seconds", "calls", "warm_up_s", "repeat", "images_per_call"),
    *("payload", "connections", "processes", "deadline_ms", "slo_ms", "seed", "server_pid", "metrics_url"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_loads(parser.add_argument_group("the load, one of"))
    _add_amount(parser.add_argument_group("how much"))
    _add_requests(parser.add_argument_group("what is sent"))
    _add_measurement(parser.add_argument_group("what is observed"))


def add_protocol(group: argparse._ActionsContainer) -> None:
    """Adds the option --protocol; `server` reads it."""
    group.add_argument(
        "--protocol",
        type=ProtocolName,
        choices=list(ProtocolName),
        help="Covey's own over gRPC (covey) or HTTP/1.1 (http), or the Open Inference Protocol over either (oip, "
        "oip-http) (default: http for a target with http:// or https://, else covey)",
    )


def server(options: argparse.Namespace, target_argument: str = "") -> dict[str, Any]:
    """Target and protocol, as Plan takes them; `target_argument` is a target that was given without `--target`. Raises
    InvalidInput."""
    protocol: ProtocolName | None = options.protocol
    default = DEFAULT_HTTP_TARGET if protocol is not None and protocol.is_http else DEFAULT_TARGET
    target = connection.target(options, target_argument, default)
    if protocol is None:
        protocol = ProtocolName.HTTP if is_url(target) else ProtocolName.COVEY
    return {"target": target, "protocol": protocol}


def plan(options: argparse.Namespace, target_argument: str = "") -> Plan:
    """The plan that the options ask for; `target_argument` as in `server`. Raises InvalidInput as Plan does."""
    return Plan(
        **server(options, target_argument),
        models=_models(options.model),
        concurrencies=_numbers(options.concurrency, int, "--concurrency", "1,8,64"),
        rates=_numbers(options.rate, float, "--rate", "100,200,400"),
        ramp=_ramp(options.ramp),
        tls=connection.tls(options),
        token=connection.token(options),
        command=shlex.join(["covey", *sys.argv[1:]]),
        **{name: getattr(options, name) for name in _AS_THEY_ARE},
    )


def _add_loads(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--concurrency", metavar="N[,N...]", help="closed loop: N calls in flight; several for a sweep")
    group.add_argument("--rate", metavar="R[,R...]", help="open loop: R calls a second, whatever the server does")
    group.add_argument("--ramp", metavar="R..R", help="open loop whose rate goes from the first to the second")
    group.add_argument("--scenario", type=Scenario, choices=list(Scenario), help="MLPerf's, by its definitions")
    group.add_argument(
        "--find-capacity",
        action="store_true",
        help="search for the highest Poisson rate at which 99%% of the calls are answered within --slo-ms",
    )


def _add_amount(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seconds", type=float, metavar="S", help=f"of each load, after the warm-up (default: {DEFAULT_SECONDS:g})"
    )
    group.add_argument(
        "--calls", type=int, metavar="N", help="a number of calls instead; with --seconds, whichever ends first"
    )
    group.add_argument(
        "--warm-up",
        dest="warm_up_s",
        type=float,
        default=DEFAULT_WARM_UP_S,
        metavar="S",
        help="seconds of the same load first, not counted (default: %(default)g)",
    )
    group.add_argument("--repeat", type=int, default=1, metavar="N", help="run all loads N times, for compare")
    group.add_argument(
        "--arrival",
        type=Arrival,
        choices=[Arrival.POISSON, Arrival.CONSTANT],
        default=Arrival.POISSON,
        help="how the calls of --rate are spread (default: %(default)s)",
    )
    group.add_argument("--connections", type=int, metavar="N", help="in all (default: as many as the load needs)")
    group.add_argument(
        "--processes", type=int, default=1, metavar="N", help="generator processes (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="for arrival times and generated images")


def _add_requests(group: argparse._ArgumentGroup) -> None:
    add_protocol(group)
    group.add_argument(
        "--model",
        action="append",
        metavar="NAME[=WEIGHT]",
        help="the model, or several, each with its share of the calls (default: the server's default model)",
    )
    group.add_argument(
        "--payload",
        default="random",
        metavar="WHAT",
        help="random pixels, generated files (jpeg:WxH), an .npy file of images, an image file, or a folder of them "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--images", dest="images_per_call", type=int, metavar="N", help="images in each call (default: 1)"
    )


def _add_measurement(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--slo-ms", type=float, metavar="MS", help="bound for the response time: goodput is what keeps it"
    )
    group.add_argument(
        "--server-pid",
        type=int,
        metavar="PID",
        help="the server's process (default: the one that listens, if it is local)",
    )
    group.add_argument(
        "--metrics-url", metavar="URL", help="the server's metrics (default: /metrics one port above the target's)"
    )


def _models(texts: list[str] | None) -> dict[str, float]:
    models: dict[str, float] = {}
    for text in texts or [""]:
        name, separator, weight = text.partition("=")
        models[name] = _number(weight, float, "--model", "lenet=3") if separator else 1.0
    return models


def _ramp(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    first, separator, last = text.partition(_RANGE)
    if not separator or last.startswith("."):  # of 50...100 nobody knows whether 100 or 0.100 is meant
        raise InvalidInput(f"--ramp takes two rates, as in 100{_RANGE}1000, not {text!r}")
    return _number(first, float, "--ramp", "100..1000"), _number(last, float, "--ramp", "100..1000")


def _numbers(text: str | None, kind: Callable[[str], T], option: str, example: str) -> tuple[T, ...]:
    return tuple(_number(part, kind, option, example) for part in text.split(",")) if text is not None else ()


def _number(text: str, kind: Callable[[str], T], option: str, example: str) -> T:
    with contextlib.suppress(ValueError):
        number = kind(text)
        if math.isfinite(number):
            return number
    raise InvalidInput(f"{option} takes numbers, as in {example}, not {text!r}")
