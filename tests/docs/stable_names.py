"""The names that docs/stability.md promises to keep, as they are in the code now: `python -m tests.docs.stable_names`
prints them for stable_names.txt, once for each release."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import fields

from bench.processes import ROOT

import covey
import covey.testing
from covey.cli import completion, connection
from covey.cli.exits import Exit
from covey_server.config import Config
from covey_server.errors import StartupError


def current() -> Iterator[str]:
    """A line for each name: commands and their options, exit codes, environment variables, Python, metrics."""
    yield from _of_commands(completion.whole_parser(), "covey")
    yield from (f"exit code of covey: {code.value}" for code in Exit)
    yield from (f"exit code of covey-server: {code}" for code in sorted(_server_codes()))
    yield from (f"environment: COVEY_{each.name.upper()}" for each in fields(Config))
    yield from (f"environment: {name}" for name in _client_variables())
    yield from (f"python: covey.{name}" for name in covey.__all__)
    yield "python: covey.testing.FakeServer"
    for name in ("Client", "AsyncClient"):
        for member in dir(getattr(covey, name)):
            if not member.startswith("_"):
                yield f"python: covey.{name}.{member}"
    yield from _metrics()


def _of_commands(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command, inner in action.choices.items():
                yield f"command: {name} {command}"
                if command != "export":  # the same once more
                    yield from _of_commands(inner, f"{name} {command}")
        for option in action.option_strings:
            yield f"command: {name} {option}"


def _server_codes() -> set[int]:
    kinds = [StartupError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {0, 1, 130} | {kind.exit_code for kind in kinds}


def _client_variables() -> list[str]:
    return sorted(set(re.findall(r"\bCOVEY_\w+", connection.ENVIRONMENT)))


def _metrics() -> Iterator[str]:
    """Of docs/metrics.md, which another test holds against the code."""
    rows = re.findall(
        r"^\| `(covey_\w+)` \| (\w+) \|([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
    )
    for name, kind, labels in rows:
        yield f"metric: {name} {kind} {labels.strip()}".rstrip()


if __name__ == "__main__":
    print("\n".join(sorted(set(current()))))
