"""Chooses the device that models run on, and the number of threads.

Whether a device works is tested by `engine.probe`: only the engine imports onnxruntime.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from covey_server.errors import DeviceUnavailable, InvalidConfiguration
from covey_server.system import cgroups

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"

# HEURISTIC: the default search benchmarks on the first run of every new batch size (hundreds of ms each).
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}

# Of CPU per call of one image: in the interpreter, and in the front's own thread (docs/performance.md).
_PYTHON_US, _FRONT_US = 9.0, 18.0


@dataclass(frozen=True, slots=True)
class Device:
    """Where sessions run: `name` is "cpu" or "cuda:0"; `fallback` says why it is not the wanted device."""

    name: str
    provider: str
    options: dict[str, str] = field(default_factory=dict)
    fallback: str = ""

    @property
    def is_cuda(self) -> bool:
        return self.provider == CUDA_PROVIDER


CPU = Device("cpu", CPU_PROVIDER)


def choose(
    wanted: str,
    providers: Sequence[str] = (CPU_PROVIDER,),
    probe: Callable[[Device], None] = lambda device: None,
) -> Device:
    """The device for `wanted`: "cpu", "cuda", "cuda:1" or "auto" (CUDA if it really works, else CPU).

    `providers` are those that onnxruntime was built with; `probe` runs something on a device and raises
    DeviceUnavailable if that fails. Raises DeviceUnavailable if "cuda" is wanted and does not work,
    InvalidConfiguration for any other word.
    """
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(\d+))?", wanted)
    if match is None or (match[2] is not None and match[1] != "cuda"):
        raise InvalidConfiguration(f"device {wanted!r} is none of auto, cpu, cuda, cuda:0, cuda:1, ...")
    if match[1] == "cpu":
        return CPU
    index = match[2] or "0"
    cuda = Device(f"cuda:{index}", CUDA_PROVIDER, {"device_id": index, **_CUDA_OPTIONS})
    if CUDA_PROVIDER not in providers:
        if match[1] == "auto":
            return CPU  # the CPU build of onnxruntime is no failure of CUDA
        raise DeviceUnavailable(
            f"device {wanted!r}: this onnxruntime has no CUDA provider (it has {', '.join(providers)}); "
            f"install covey-serve[gpu] in place of covey-serve[cpu], or use --device cpu"
        )
    try:
        probe(cuda)
    except DeviceUnavailable as error:
        if match[1] == "cuda":
            raise
        return Device(CPU.name, CPU.provider, fallback=str(error))
    return cuda


def refuse_mixed_installation() -> None:
    """Raises InvalidConfiguration if both builds of onnxruntime are installed, which overwrite each other."""
    if _is_installed("onnxruntime") and _is_installed("onnxruntime-gpu"):
        raise InvalidConfiguration(
            "both onnxruntime and onnxruntime-gpu are installed; they share one folder and the later one wins. "
            "Uninstall both, then install covey-serve[cpu] or covey-serve[gpu]"
        )


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)  # 0.1 ms; to read what all are called takes 90 ms among 190 of them
    except metadata.PackageNotFoundError:
        return False
    return True


def available_cores(cgroup: Path = cgroups.ROOT, self_file: Path = cgroups.SELF) -> float:
    """The cores that this process may keep busy: its affinity, cut to the cgroups' CPU quota; 0.5 is half of one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(cgroup, self_file)
    return cores if quota is None else min(cores, quota)


def usable_cores(cgroup: Path = cgroups.ROOT) -> int:
    """The same in whole cores, at least 1: how many threads can be of use."""
    return max(1, math.ceil(available_cores(cgroup)))


def share_cores(cores: int, workers: int = 0) -> tuple[int, int]:
    """How many threads run batches, and how many more are reserves, which take only what is worth a core.

    The front needs a core too: of two cores one runs batches, and the other one only full batches. The gain is within
    the noise of most runs (docs/performance.md). `workers` that were set are taken as they are.
    """
    if workers:
        return workers, 0
    return max(1, cores - 1), 1 if cores > 1 else 0


def useful_processes(cores: int, image_us: float) -> int:
    """How many processes a server can use for calls of one image, which is computed in `image_us` at the best batch
    size. One interpreter runs Python for one call at a time; computing and the front's work do not need it."""
    return max(1, min(cores, round(cores * _PYTHON_US / (image_us + _PYTHON_US + _FRONT_US))))


def cgroup_quota(cgroup: Path = cgroups.ROOT, self_file: Path = cgroups.SELF) -> float | None:
    """The quota in cores, from cpu.max (version 2) or cpu.cfs_* (version 1), the least of this process's cgroup and
    those around it; None if there is none."""
    found = (_quota(version, folder) for version, folder in cgroups.folders("cpu", cgroup, self_file))
    return min((quota for quota in found if quota is not None), default=None)


def _quota(version: int, folder: Path) -> float | None:
    try:
        if version == 1:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        else:
            quota, period = (folder / "cpu.max").read_text().split()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None
