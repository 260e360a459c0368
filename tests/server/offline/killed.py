"""`covey-server batch` that ends itself at a chosen point, as a process of its own.

    python -m tests.server.offline.killed before|after|workers NUMBER SIGNAL ARGUMENTS...

Each file of a run appears by a rename: run.json, of each part its counts and its rows, and the result. The signal comes
just before or after the rename of this number, from 1; or after it to the workers. The children's ids are printed
first.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import psutil

from covey_server.__main__ import main


def run(moment: str, number: int, signal: int, arguments: list[str]) -> int:
    """The exit code, if the signal is not the end."""
    renames = 0
    replace = Path.replace

    def counted(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        is_time = renames == number
        if is_time and moment == "before":
            _end(signal)
        replaced = replace(path, target)
        if is_time and moment == "after":
            _end(signal)
        if is_time and moment == "workers":
            for worker in multiprocessing.active_children():
                os.kill(worker.ident or 0, signal)
        return replaced

    Path.replace = counted  # type: ignore[assignment, method-assign]
    return main(["batch", *arguments])


def _end(signal: int) -> None:
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    os.kill(os.getpid(), signal)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
