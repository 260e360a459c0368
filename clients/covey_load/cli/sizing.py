"""`covey plan`: how many servers a rate of calls needs."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from typing import TYPE_CHECKING, Any

from covey.cli import connection, json_lines
from covey.cli.exits import Exit
from covey.errors import InvalidInput
from covey.results import Model, Serving
from covey_load.cli import load_options
from covey_load.cli.load import missing_package
from covey_proto.wording import plural

if TYPE_CHECKING:
    from covey_load.sizing import Server, Sizing

NAME = "plan"
SUMMARY = "say how many servers a rate needs"
DESCRIPTION = """\
Say how many servers, cores and how much memory a rate of calls needs, from the batch curve that a running server has
measured of the model. That is an estimate: --measure puts a load on that server in its place, for about a minute.
"""
DEFAULT_HEADROOM = 0.3
_POSITIVE = ("--rate", "--slo-ms", "--images", "--cores")
_MAX_VALUE = 1e9  # of each option: more is a mistake
_TRY_S, _WARM_UP_S = 4.0, 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="?", default="", metavar="TARGET", help="the server, as --target")
    parser.add_argument(
        "--rate", type=float, required=True, metavar="N", help="calls per second that are to be answered"
    )
    parser.add_argument(
        "--slo-ms", type=float, default=50.0, metavar="MS", help="99%% of them within this (default: %(default)g)"
    )
    parser.add_argument("--model", default="", help="name of the model (default: the server's default model)")
    parser.add_argument("--images", type=int, default=1, metavar="N", help="in each call (default: %(default)s)")
    parser.add_argument(
        "--decode-ms", type=float, default=0.0, metavar="MS",
        help="of CPU for the image files of one call; `covey classify FILE --json` shows it (default: 0, for pixels)",
    )  # fmt: skip
    parser.add_argument("--cores", type=int, metavar="N", help="of each server (default: as many as that one uses)")
    parser.add_argument(
        "--headroom", type=float, default=DEFAULT_HEADROOM, metavar="SHARE",
        help="how much more than the rate the servers shall be able to answer (default: %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--spare", type=int, default=1, metavar="N", help="servers that may be away at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--measure", action="store_true", help="find by a load what that server answers, in place of estimating it"
    )
    parser.add_argument(
        "--payload", default="random", metavar="WHAT", help="with --measure, as of covey load: random, jpeg:WxH, a file"
    )
    load_options.add_protocol(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object instead")


def run(options: argparse.Namespace) -> Exit:
    """Raises CoveyError where the server cannot be asked, or no number of servers suffices."""
    try:
        from covey_load import sizing
        from covey_load.reports import text  # noqa: F401  before the server is asked: it needs packages of the extra

        _require_possible(options)
        server_options = load_options.server(options, options.words)
        model, serving = _model(options, server_options["target"])
        server = _server(options, serving)
        try:
            measured = _measured(options, server_options) if options.measure else None
            found = sizing.size(server, options.rate, options.slo_ms, options.headroom, options.spare, measured)
        except sizing.Unreachable as error:
            raise InvalidInput(f"--slo-ms {options.slo_ms:g}: {error}") from error
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    memory = sizing.memory_bytes(serving.memory_bytes)
    if options.json:
        print(json_lines.line(_facts(found, model, server, memory, is_measured=options.measure)))
    else:
        print("\n".join(_lines(found, model, server, memory, is_measured=options.measure)))
    return Exit.OK


def _require_possible(options: argparse.Namespace) -> None:
    for name in (*_POSITIVE, "--decode-ms", "--headroom", "--spare"):
        value: float | None = getattr(options, name[2:].replace("-", "_"))
        if value is None:
            continue
        if not 0 <= value < math.inf or (value == 0 and name in _POSITIVE):
            raise InvalidInput(
                f"{name} takes a number {'above 0' if name in _POSITIVE else 'of 0 or more'}, not {value:g}"
            )
        if value > _MAX_VALUE:
            raise InvalidInput(f"{name} takes at most {_MAX_VALUE:g}, not {value:g}")


def _model(options: argparse.Namespace, target: str) -> tuple[Model, Serving]:
    with connection.connect(argparse.Namespace(**{**vars(options), "target": target})) as client:
        model = client.model(options.model)
    if model.serving is None:
        raise InvalidInput(f"the model {model.name} is refused there: {model.reason}")
    if not model.serving.batch_curve:
        raise InvalidInput(f"{target} does not say how long batches of {model.name} take; is it a Covey server?")
    return model, model.serving


def _server(options: argparse.Namespace, serving: Serving) -> Server:
    from covey_load.sizing import CALL_US, Server

    curve = [(cost.batch_size, cost.run_us) for cost in serving.batch_curve]
    call_us = CALL_US + options.decode_ms * 1000
    return Server(curve, serving.max_batch_size, options.cores or serving.workers, options.images, call_us)


def _measured(options: argparse.Namespace, server_options: dict[str, Any]) -> float:
    """Calls per second within the bound, by a load. Raises CoveyError."""
    from covey_load import runner
    from covey_load.live import Live
    from covey_load.plan import Plan
    from covey_load.reports import words

    plan = Plan(
        **server_options,
        models={options.model: 1.0},
        find_capacity=True,
        slo_ms=options.slo_ms,
        seconds=_TRY_S,
        warm_up_s=_WARM_UP_S,
        images_per_call=options.images,
        payload=options.payload,
        deadline_ms=max(options.deadline_ms, options.slo_ms),
        tls=connection.tls(options),
        token=connection.token(options),
    )
    with Live(sys.stderr) as live:
        report = runner.run(plan, live.show)
    if report.interrupted or report.capacity is None:
        raise InvalidInput(f"nothing was measured: {words.ended_early(report.interrupted)}")
    limits = "; ".join(report.capacity.limited_by)
    if report.capacity.rate_per_s is None and limits:
        raise InvalidInput(f"no capacity was measured: {limits}")
    if limits:
        print(f"covey: {limits}", file=sys.stderr)
    return report.capacity.rate_per_s or 0.0


def _facts(found: Sizing, model: Model, server: Server, memory: int, *, is_measured: bool) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "servers": found.servers,
        "cores_each": server.cores,
        "memory_bytes_each": memory,
        "capacity_is_measured": is_measured,
        **dataclasses.asdict(found),
    }


def _lines(found: Sizing, model: Model, server: Server, memory: int, *, is_measured: bool) -> list[str]:
    from covey_load.reports.text import wrap
    from covey_load.reports.words import number
    from covey_load.sizing import ASSUMED

    how = "by a load on it" if is_measured else "estimated from its batch curve; --measure tries it"
    calls = f"{number(found.rate_per_s)} calls/s of {plural(server.images, 'image')} to {model.name}"
    all_per_s = found.needed * found.capacity_per_s
    sentences = [
        f"One server answers {number(found.capacity_per_s)} calls/s within {found.slo_ms:g} ms ({how}).",
        (
            f"{found.needed} of them can answer {number(all_per_s)} calls/s, {number(all_per_s / found.rate_per_s)} "
            f"times the rate. At least {1 + found.headroom:g} times were asked for (--headroom): for bursts, for what "
            f"else runs on the cores, and for the error of the estimate."
        ),
        (
            f"With {plural(found.needed, 'server')} up, {found.busy(found.needed):.0%} of that is used, and 99% of the "
            f"calls take up to {number(found.fewest_ms)} ms."
        ),
        f"Assumed: {ASSUMED}.",
    ]
    if found.spare:
        sentences[2:3] = [
            f"{found.spare} more may be away, as when one is updated or fails (--spare). {sentences[2]}",
            f"With all {found.servers}: {found.busy(found.servers):.0%}, and {number(found.all_ms)} ms.",
        ]
    first = f"{plural(found.servers, 'server')}, each of {plural(server.cores, 'core')} and {memory >> 20:,} MB"
    return [
        wrap(f"{first}, for {calls}, 99% within {found.slo_ms:g} ms."),
        *(wrap(f"- {sentence}", indent="  ") for sentence in sentences),
    ]
