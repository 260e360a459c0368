"""`covey wait`: returns once a server is ready, for scripts and containers."""

from __future__ import annotations

import argparse

from covey.cli.connection import connect
from covey.cli.exits import Exit

NAME = "wait"
SUMMARY = "wait until a server is ready"
DESCRIPTION = "Wait until a server is ready: it takes requests and serves a model. At most a minute, or --deadline-ms."
DEADLINE_MS = 60_000.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(deadline_ms=DEADLINE_MS)


def run(options: argparse.Namespace) -> Exit:
    """Raises DeadlineExceeded where the server was not ready in time."""
    with connect(options) as client:
        client.wait_until_ready()
    return Exit.OK
