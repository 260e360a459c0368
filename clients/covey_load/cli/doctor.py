"""`covey doctor`: what limits a deployment, in plain words."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import TYPE_CHECKING

from covey.cli import connection
from covey.cli.exits import Exit
from covey.errors import InvalidInput
from covey_load.cli import load_options
from covey_load.cli.load import missing_package

if TYPE_CHECKING:
    from covey_load.measurement import Report

NAME = "doctor"
SUMMARY = "say what limits a server"
DESCRIPTION = """\
Measure a server for a few seconds, with one call in flight and then with many, and say in plain words what limits it:
the client, the server's front, the network, the queue, decoding or computing.
Exits with 3 where a run was not answered or not ended.
"""
DEFAULT_IN_FLIGHT = 64
_SECONDS = 3.0
_WARM_UP_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="?", default="", metavar="TARGET", help="the server, as --target")
    parser.add_argument("--model", default="", help="name of the model (default: the server's default model)")
    load_options.add_protocol(parser)
    parser.add_argument(
        "--payload", default="random", metavar="WHAT", help="as of covey load: random, jpeg:WxH, a file, a folder"
    )
    parser.add_argument(
        "--in-flight",
        type=int,
        default=DEFAULT_IN_FLIGHT,
        metavar="N",
        help="calls in flight in the second run (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds", type=float, default=_SECONDS, metavar="S", help="of each of the two runs (default: %(default)g)"
    )


def run(options: argparse.Namespace) -> Exit:
    """Raises CoveyError where the server cannot be measured."""
    try:
        return _examine(options)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def _examine(options: argparse.Namespace) -> Exit:
    from covey_load import runner
    from covey_load.doctor import Runs
    from covey_load.live import Live
    from covey_load.measurement import BY_CTRL_C
    from covey_load.observation import Front, find_front
    from covey_load.plan import Plan
    from covey_load.remote import Remote
    from covey_load.reports.text import write_diagnosis

    if options.in_flight < 2:
        raise InvalidInput(f"--in-flight takes a number of at least 2, not {options.in_flight}: it is held against 1")
    plan = Plan(
        **load_options.server(options, options.words),
        models={options.model: 1.0},
        concurrencies=(1, options.in_flight),
        seconds=options.seconds,
        warm_up_s=_WARM_UP_S,
        payload=options.payload,
        deadline_ms=options.deadline_ms,
        tls=connection.tls(options),
        token=connection.token(options),
        command=shlex.join(["covey", *sys.argv[1:]]),
    )
    with Live(sys.stderr) as live:
        report = runner.run(plan, live.show)
    if report.interrupted:
        print(f"covey: nothing can be said: ended early {report.interrupted}", file=sys.stderr)
        return Exit.INTERRUPTED if report.interrupted == BY_CTRL_C else Exit.SERVER
    answered = [run for run in report.runs if run.response.count]
    if len(answered) < 2:
        print(f"covey: nothing can be said: {_unanswered(report)}", file=sys.stderr)
        return Exit.SERVER
    alone, loaded = answered
    endpoint = Remote(plan.target, plan.deadline_ms, plan.tls, plan.token).endpoint
    front = find_front(endpoint) if not plan.protocol.is_http else Front.UNKNOWN
    print(
        write_diagnosis(report, Runs(alone, loaded, int(report.machine["cores"]), front, tls=endpoint.tls is not None))
    )
    return Exit.OK


def _unanswered(report: Report) -> str:
    from covey_load.reports import words

    failed = "; ".join(f"{words.counts(run.errors)} with {run.load.name}" for run in report.runs if run.errors)
    return f"no call was answered in one of the two runs ({failed or 'no errors either'})"
