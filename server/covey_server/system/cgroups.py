"""The folders of the control groups that limit this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")


def folders(controller: str, root: Path = ROOT, self_file: Path = SELF) -> Iterator[tuple[int, Path]]:
    """The version (2 or 1) and the folder of this process's group and of each group around it, innermost first: the
    limits of all of them hold. In a container the files of its own group are at the root, whatever its path outside."""
    paths = {"": "/"}  # by version 1's controllers; version 2's is ""
    with suppress(OSError):
        for line in self_file.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update(dict.fromkeys(controllers.split(","), path))
    for version, base, path in ((2, root, paths[""]), (1, root / controller, paths.get(controller, "/"))):
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield version, base.joinpath(*parts[:depth])
