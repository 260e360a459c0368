"""Processor, cores, memory and open files, as far as this process may use them."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

from covey_server.inference import devices
from covey_server.installation.finding import Finding, Level
from covey_server.system import memory_limit

_CPU_INFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")
# As the kernel calls them, and as people do; those of one line are alternatives.
_FEATURES = (
    ("AVX2", {"avx2"}),
    ("AVX-512", {"avx512f"}),
    ("VNNI", {"avx512_vnni", "avx_vnni", "asimddp"}),
    ("AMX", {"amx_int8"}),
    ("NEON", {"asimd"}),
)
_MIN_FREE_BYTES = 256 * 2**20  # a server with a small model takes 100 MB (docs/performance.md); images need some too
_MIN_FILES = 4096


def processor(cpu_info: Path = _CPU_INFO, kind: str = platform.machine()) -> Finding:
    """The instructions that onnxruntime can use."""
    name, flags = "", set[str]()
    try:
        for line in cpu_info.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
                break
    except OSError:
        return Finding(Level.OK, "processor", f"{kind}; this system does not tell its instructions")
    features = [shown for shown, names in _FEATURES if names & flags]
    said = f"{name or kind}: {', '.join(features) or 'no vector instructions that are known here'}"
    if kind in ("x86_64", "AMD64") and "AVX2" not in features:
        return Finding(Level.NOTE, "processor", said, "expect slow answers without AVX2; measure with covey load")
    if "VNNI" not in features:
        return Finding(Level.NOTE, "processor", f"{said}; no VNNI", "measure whether int8 variants pay here")
    return Finding(Level.OK, "processor", said)


def cores(cgroup: Path = _CGROUP) -> Finding:
    """How many a server uses."""
    usable, there = devices.usable_cores(cgroup), os.cpu_count() or 1
    quota = devices.cgroup_quota(cgroup)
    said = f"{usable} of {there} can be used" + ("" if quota is None else f"; the cgroup's quota is {quota:g}")
    if quota is not None and quota < 1:
        return Finding(Level.NOTE, "cores", said, "give the container a whole core: below, every batch is interrupted")
    return Finding(Level.OK, "cores", said)


def memory(room: memory_limit.Room | None = None) -> Finding:
    """How much a server may take; `room` is for tests."""
    room = room or memory_limit.room()
    if room is None:
        return Finding(Level.OK, "memory", "this system does not tell how much is free")
    said = f"{room.free_bytes / 2**20:,.0f} MiB can be taken ({room.source})"
    if room.free_bytes < _MIN_FREE_BYTES:
        return Finding(Level.NOTE, "memory", said, f"give a server {_MIN_FREE_BYTES // 2**20} MiB or more")
    return Finding(Level.OK, "memory", said)


def open_files(hard: int | None = None) -> Finding:
    """How many connections there can be; the server raises the soft limit to the `hard` one itself."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if hard is None else hard
    if limit == resource.RLIM_INFINITY:
        return Finding(Level.OK, "open files", "not limited")
    if limit < _MIN_FILES:
        advice = f"raise the hard limit to {_MIN_FILES:,} or more (ulimit -Hn): each connection is one"
        return Finding(Level.NOTE, "open files", f"{limit:,} at the most", advice)
    return Finding(Level.OK, "open files", f"{limit:,} at the most")
