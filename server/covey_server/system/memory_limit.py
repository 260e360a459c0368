"""How much more memory this process may take: what its cgroups and the machine leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from covey_server.system import cgroups

_MEMORY_INFO = Path("/proc/meminfo")
_UNLIMITED_BYTES = 1 << 60  # version 1 writes a number near 2**63 where there is no limit


@dataclass(frozen=True, slots=True)
class Room:
    """`free_bytes` can be taken without swapping or being killed; `source` says what sets that limit. `cached_bytes`
    more hold files in use, programs among them, which the system drops last and has to read again."""

    free_bytes: int
    source: str
    cached_bytes: int = 0


def room(root: Path = cgroups.ROOT, self_file: Path = cgroups.SELF, memory_info: Path = _MEMORY_INFO) -> Room | None:
    """The least of what the machine, this process's cgroup and those around it leave. None if the system does not
    tell."""
    rooms = list(_of_cgroups(root, self_file))
    machine = _of_machine(memory_info)
    if machine is not None:
        rooms.append(machine)
    return min(rooms, key=lambda each: each.free_bytes, default=None)


def _of_machine(memory_info: Path) -> Room | None:
    with suppress(OSError, ValueError):
        for line in memory_info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free_bytes = int(line.split()[1]) * 1024
                return Room(free_bytes, f"the {_mib(free_bytes)} of this machine that are free")
    with suppress(OSError, ValueError):  # not Linux, or a name that this system does not know
        total_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Room(total_bytes // 2, f"half of the {_mib(total_bytes)} of this machine")
    return None


def _of_cgroups(root: Path, self_file: Path) -> Iterator[Room]:
    kinds = {
        2: (("memory.max", "memory.high"), "memory.current", ""),
        1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"),
    }
    for version, folder in cgroups.folders("memory", root, self_file):
        limits, usage, prefix = kinds[version]
        for limit in limits:
            found = _limit(folder / limit)
            if found is not None:
                used = _number(folder / usage) - _statistic(folder / "memory.stat", f"{prefix}inactive_file")
                cached = _statistic(folder / "memory.stat", f"{prefix}active_file")
                yield Room(max(0, found - max(0, used)), f"the cgroup's limit of {_mib(found)}", cached)


def _limit(file: Path) -> int | None:
    with suppress(OSError, ValueError):  # not there; "max", where there is no limit
        found = int(file.read_text())
        return found if found < _UNLIMITED_BYTES else None
    return None


def _number(file: Path) -> int:
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return 0


def _statistic(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(name + " "):
                return int(line.split()[1])
    return 0


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
