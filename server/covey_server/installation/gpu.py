"""Whether there is a GPU, and whether this onnxruntime can use it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

from covey_server.installation.finding import Finding, Level

_DRIVER = Path("/proc/driver/nvidia/version")
_LIBRARY = "libcuda.so.1"
_SUBJECT = "GPU"


def gpu(
    builds: Mapping[str, str],
    driver: Path = _DRIVER,
    library: str = _LIBRARY,
    try_cuda: Callable[[], str] | None = None,
) -> Finding:
    """`builds` of onnxruntime by name; file or library of the driver show that it is there. `try_cuda` gives why CUDA
    does not work, or nothing."""
    has_driver = driver.exists() or _has_library(library)
    is_for_cuda = "onnxruntime-gpu" in builds
    if len(builds) > 1:
        return Finding(Level.OK, _SUBJECT, "not tried while several builds of onnxruntime are installed")
    if not has_driver:
        if is_for_cuda:
            return Finding(
                Level.NOTE,
                _SUBJECT,
                "onnxruntime is built for CUDA, but there is no NVIDIA driver here; models will run on the CPU",
                "install the driver; in a container, start it with --gpus all; or install covey-serve[cpu] instead",
            )
        return Finding(Level.OK, _SUBJECT, "no NVIDIA driver here; models run on the CPU")
    if not is_for_cuda:
        return Finding(
            Level.NOTE,
            _SUBJECT,
            "an NVIDIA driver is here, but this onnxruntime is not built for CUDA; models will run on the CPU",
            "to use the GPU: pip uninstall onnxruntime, then pip install 'covey-serve[gpu]'",
        )
    reason = (try_cuda or _try_cuda)()
    if reason:
        return Finding(Level.WRONG, _SUBJECT, reason, "--device cpu serves without it")
    return Finding(Level.OK, _SUBJECT, "onnxruntime runs on cuda:0")


def _try_cuda() -> str:
    from covey_server.errors import DeviceUnavailable
    from covey_server.inference import devices, engine  # here, as it imports onnxruntime

    try:
        devices.choose("cuda", engine.available_providers(), engine.probe)
    except DeviceUnavailable as error:
        return str(error)
    return ""


def _has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True
