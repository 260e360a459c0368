"""`covey doctor`: what limits a deployment, or what stands in the way of one, in plain words."""

from __future__ import annotations

import argparse
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from covey.cli import connection
from covey.cli.exits import Exit
from covey.connection import is_url
from covey.errors import InvalidInput
from covey_load.cli import load_options
from covey_load.cli.load import missing_package

if TYPE_CHECKING:
    from covey_load.measurement import Report

NAME = "doctor"
SUMMARY = "say what limits a server, or what keeps one from running here"
DESCRIPTION = """\
Measure a server for a few seconds, with one call in flight and then with many, and say in plain words what limits it:
the limits of the token, the client, the server's front, its processor, the network, the queue, decoding or computing.
It sends as many calls as are answered, and uses up the limits of its token meanwhile; where they refuse calls with one
in flight, many are not tried. Exits with 3 where a run was not answered or not ended.

With --local, or where no target is given and no server answers at the usual one, look at this installation instead:
Python, packages, the build of onnxruntime, processor, cores, memory, ports and GPU, with what to do. The ports are
those of --grpc-port, --http-port and --metrics-port, else those that a server would take here (COVEY_GRPC_PORT, ...).
--local exits with 2 where something keeps a server from running here.
"""
DEFAULT_IN_FLIGHT = 64
_SECONDS = 3.0
_WARM_UP_S = 0.5
_CONNECT_S = 2.0
_MAX_ASKED = 64  # calls at once, to learn what they are refused for
_PORTS = ("grpc_port", "http_port", "metrics_port")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="?", default="", metavar="TARGET", help="the server, as --target")
    parser.add_argument("--model", default="", help="name of the model (default: the server's default model)")
    parser.add_argument("--local", action="store_true", help="look at this installation, and at no server")
    for name in _PORTS:
        protocol = {"grpc": "gRPC", "http": "HTTP", "metrics": "metrics"}[name.removesuffix("_port")]
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"with --local: look at this port for {protocol}"
        )
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
    parser.add_argument(
        "--metrics-url", metavar="URL", help="the server's metrics (default: /metrics one port above the target's)"
    )


def run(options: argparse.Namespace) -> Exit:
    """Raises CoveyError where the server cannot be measured."""
    is_told = bool(options.words or options.target)
    if options.local and is_told:
        raise InvalidInput("--local looks at this installation and at no server; omit the target")
    ports = {name: port for name in _PORTS if (port := getattr(options, name)) is not None}
    if options.local:
        return _examine_installation(ports)
    if ports:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in ports)
        raise InvalidInput(f"{names}: which port of this machine is to be looked at, goes with --local")
    target = load_options.server(options, options.words)["target"]
    if not is_told and not os.environ.get("COVEY_TARGET") and not _listens(target):
        print(f"no server answers at {target}, and no other was named; this is about the installation\n")
        _examine_installation({})
        return Exit.SERVER
    try:
        return _examine(options)
    except ModuleNotFoundError as error:
        raise missing_package(error) from error


def _examine_installation(ports: Mapping[str, int]) -> Exit:
    from covey_server import installation  # needs none of the server's packages
    from covey_server.errors import InvalidConfiguration

    try:
        findings = list(installation.examine(settings=ports))
    except InvalidConfiguration as error:
        raise InvalidInput(str(error)) from error
    print(installation.text(findings))
    return Exit.USAGE if any(each.level is installation.Level.WRONG for each in findings) else Exit.OK


def _listens(target: str) -> bool:
    """Whether somebody takes connections there."""
    parts = urlsplit(target if is_url(target) else f"//{target}")
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def _examine(options: argparse.Namespace) -> Exit:
    from covey_load import runner
    from covey_load.bottleneck import Runs, is_held_by_a_limit
    from covey_load.live import Live
    from covey_load.measurement import BY_CTRL_C
    from covey_load.observation import Front, find_front
    from covey_load.plan import Plan
    from covey_load.remote import Remote
    from covey_load.reports import words
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
        metrics_url=options.metrics_url,
        command=shlex.join(["covey", *sys.argv[1:]]),
    )
    caller = "token" if plan.token else "certificate" if options.client_certificate else "caller"
    if caller != "caller":
        seconds = len(plan.concurrencies) * (plan.duration_s + _WARM_UP_S)
        print(
            f"covey: sends as many calls as are answered for {seconds:g} s; limits of this {caller} are used up "
            f"meanwhile (--seconds makes it shorter)",
            file=sys.stderr,
        )
    with Live(sys.stderr) as live:
        report = runner.run(plan, live.show, lambda measured: not is_held_by_a_limit(measured))
    if report.interrupted:
        print(f"covey: nothing can be said: {words.ended_early(report.interrupted)}", file=sys.stderr)
        return Exit.INTERRUPTED if report.interrupted == BY_CTRL_C else Exit.SERVER
    if not all(run.response.count for run in report.runs):
        print(f"covey: nothing can be said: {_unanswered(report)}", file=sys.stderr)
        return Exit.SERVER
    endpoint = Remote(plan.target, plan.deadline_ms, plan.tls, plan.token).endpoint
    front = find_front(endpoint) if not plan.protocol.is_http else Front.UNKNOWN
    is_unexplained = any(is_held_by_a_limit(measured) and measured.metrics is None for measured in report.runs)
    runs = Runs(
        report.runs[0],
        report.runs[-1],
        _usable_cores(report),
        front,
        tls=endpoint.tls is not None,
        caller=caller,
        refusal=runner.why_refused(plan, min(options.in_flight, _MAX_ASKED)) if is_unexplained else "",
    )
    print(write_diagnosis(report, runs))
    return Exit.OK


def _usable_cores(report: Report) -> float:
    """The cores that the server may use: as it says itself, else those that its process may run on, else all."""
    from covey_load.observation import affinity

    for run in report.runs:
        if run.metrics is not None and run.metrics.usable_cores is not None:
            return run.metrics.usable_cores
    pids = [run.server_process.pid for run in report.runs if run.server_process is not None]
    return (affinity(pids[0]) if pids else None) or int(report.machine["cores"])


def _unanswered(report: Report) -> str:
    from covey_load.reports import words

    failed = "; ".join(f"{words.counts(run.errors)} with {run.load.name}" for run in report.runs if run.errors)
    return f"no call was answered in one of the two runs ({failed or 'no errors either'})"
