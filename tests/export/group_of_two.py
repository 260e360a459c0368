"""Two processes that train together, told by their environment as torchrun tells it.

They are forked from a server that has imported torch: each costs its training, not seven seconds of imports.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["covey_export.cli.commands", "torch._dynamo"])  # the latter is what optimizers import


@dataclass(frozen=True)
class Ended:
    """What one of the two came to."""

    exit_code: int | None
    output: str
    errors: str


def run_two(work: Callable[..., None], folder: Path, *arguments: object) -> list[Ended]:
    """Calls the module-level function `work(*arguments)` in two processes, in `folder`, and waits for both.

    What they print is kept beside that folder.
    """
    group = _group()
    said = [folder.with_name(f"{folder.name}-said-{rank}") for rank in (0, 1)]
    processes = [
        _CONTEXT.Process(
            target=_run, args=(work, folder, place, {**group, "RANK": rank, "LOCAL_RANK": rank}, arguments)
        )
        for place, rank in zip(said, ("0", "1"), strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [
        Ended(process.exitcode, _output(place).read_text(), _errors(place).read_text())
        for process, place in zip(processes, said, strict=True)
    ]


def _run(
    work: Callable[..., None], folder: Path, said: Path, environment: dict[str, str], arguments: tuple[object, ...]
) -> None:
    os.environ.update(environment)
    for descriptor, file in ((1, _output(said)), (2, _errors(said))):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(folder)
    work(*arguments)


def _output(said: Path) -> Path:
    return said.with_suffix(".out")


def _errors(said: Path) -> Path:
    return said.with_suffix(".err")


def _group() -> dict[str, str]:
    """What torchrun tells each of two processes, but for its rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
