"""Owns what the kernel says of a process and of those it started: CPU time and memory (Linux, /proc).

CPU time is what the kernel has booked, so it does not depend on who else uses the machine as latency does.
"""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """CPU time used so far by a process and by those below it that still run: all threads, user and system
    (proc(5): fields 14 and 15 of stat). Raises FileNotFoundError where the process is gone."""
    total = _ticks(pid)
    for child in family(pid)[1:]:
        try:
            total += _ticks(child)
        except FileNotFoundError:  # ended since it was listed
            continue
    return total / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of a process alone (VmRSS). Raises FileNotFoundError where it is gone."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise FileNotFoundError(f"/proc/{pid}/status has no VmRSS: the process has ended")


def peak_bytes(pid: int) -> int:
    """The most resident memory that a process had (VmHWM). Raises FileNotFoundError where it is gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def family(pid: int) -> list[int]:
    """A process and all below one, its children's children included."""
    return [pid, *_children(pid)]


def _ticks(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    after_command = stat.rpartition(")")[2].split()  # from field 3 on; the command may hold blanks
    return int(after_command[11]) + int(after_command[12])


def _children(pid: int) -> list[int]:
    """All processes below one, its children's children included."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        for tasks in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                children = [int(child) for child in tasks.read_text().split()]
            except FileNotFoundError:
                continue
            found += children
            waiting += children
    return found
