"""Whether a server can run here, and how well: what `covey doctor --local` says of packages, machine, ports and GPU.

Imports nothing of a server when it is loaded, so that it also says what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from covey_server import command_line
from covey_server.config import Config
from covey_server.installation import gpu, machine, packages, ports
from covey_server.installation.finding import Finding, Level

__all__ = ["Finding", "Level", "examine", "text"]


def examine(
    environment: Mapping[str, str] = os.environ, settings: Mapping[str, int] | None = None
) -> Iterator[Finding]:
    """All findings, one after the other. Ports are those of the `settings`, by their names in Config, else of the
    environment. Raises InvalidConfiguration for wrong variables and settings."""
    config = Config(**(vars(command_line.build(environment).parse_args([])) | dict(settings or {})))
    yield packages.python()
    yield from packages.of_the_server()
    builds = packages.onnxruntime_builds()
    yield packages.onnxruntime(builds)
    yield machine.processor()
    yield machine.cores()
    yield machine.memory()
    yield machine.open_files()
    yield gpu.gpu(builds)
    others: dict[tuple[str, int], str] = {}
    for port in config.ports:
        place = port.host, port.number
        yield ports.port(port.purpose, port.option, *place, others.get(place, ""))
        others[place] = port.purpose


def text(findings: Sequence[Finding]) -> str:
    """What is printed: a line each, what to do below it, and a summary."""
    lines = []
    for each in findings:
        lines.append(f"{each.level.value:5}  {each.subject}: {each.text}")
        if each.advice:
            lines.append(f"       do: {each.advice}")
    wrong = sum(each.level is Level.WRONG for each in findings)
    lines.append(
        f"to put right before a server is started: {wrong}"
        if wrong
        else "nothing stands in the way of a server here: `covey serve` starts one"
    )
    return "\n".join(lines)
