"""Callers in a container beside the servers, so that names and addresses are those of the project's own network."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.compose import TAG, Project, docker

_SCRIPT = (Path(__file__).parent / "asking.py").read_text()
_STOP_S = 60


class Callers:
    """After they have stopped: `answered` calls, and how often the others met what."""

    answered = 0
    failures: dict[str, int]


@contextmanager
def calling(
    project: Project,
    target: str,
    *,
    threads: int = 4,
    images: int = 1,
    side: int = 28,
    deadline_ms: int = 10_000,
    retries: int = 4,
) -> Iterator[Callers]:
    """They ask from here on until the end of the block."""
    name = f"{project.name}-callers-{target.strip(':/').replace('/', '').replace(':', '')}"
    command = ["docker", "run", "--rm", "--name", name, "--network", f"{project.name}_default"]
    command += ["--entrypoint", "python3", f"covey-clients:{TAG}", "-c", _SCRIPT]
    command += [target, *map(str, (threads, images, side, deadline_ms, retries))]
    callers = Callers()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            began = process.stdout.readline()
            assert began == "asking\n", began + process.communicate()[1]
            yield callers
        finally:
            docker("stop", "--time", str(_STOP_S), name)
            output, errors = process.communicate(timeout=_STOP_S)
    assert process.returncode == 0, errors
    outcomes = json.loads(output)
    callers.answered = outcomes.pop("answered", 0)
    callers.failures = outcomes
