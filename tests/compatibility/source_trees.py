"""Server and SDK of a source tree, of 0.1.0 or of the present, in processes of their own. They run with the packages
that are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import started_server
from tests.compatibility import released
from tests.compatibility.conversation import TOKEN

PACKAGES = ("proto", "export", "server", "clients")


def environment(tree: Path) -> dict[str, str]:
    """For a Python that takes Covey from this tree."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("COVEY_")}
    return others | {"PYTHONPATH": os.pathsep.join(str(tree / each) for each in PACKAGES)}


def write_tokens(place: Path) -> Path:
    """The file for --auth-token-file, with the token of the conversation."""
    file = place / "tokens"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


@contextmanager
def server(tree: Path, place: Path) -> Iterator[str]:
    """The address of the tree's server, with the model files of 0.1.0. `place` gets its log."""
    command = [sys.executable, "-m", "covey_server", "--models", str(released.MODELS)]
    command += ["--auth-token-file", str(write_tokens(place))]
    free_ports = {f"COVEY_{name}_PORT": "0" for name in ("GRPC", "HTTP", "METRICS")}
    with started_server(command, place / "log", environment(tree) | free_ports) as (_, target, _, _):
        yield target


def converse(tree: Path, target: str) -> str:
    """What the tree's SDK gets from a server, as JSON."""
    command = [sys.executable, str(released.CONVERSATION), target, str(released.IMAGES)]
    run = subprocess.run(command, env=environment(tree), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
