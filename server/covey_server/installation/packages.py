"""Python and the packages that a server needs, as they are installed; none is imported."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata

from covey_server.installation.finding import Finding, Level

MIN_PYTHON = (3, 11)
_NEEDED = (
    *("grpcio", "protobuf", "numpy", "pillow", "httptools", "prometheus-client"),
    *("grpcio-health-checking", "grpcio-reflection"),
)
_FAST_FRONT = "pygrpc-native"
_SERVER = "pip install 'covey-serve[cpu]', or 'covey-serve[gpu]' for CUDA; never both"

Installed = Callable[[str], str]


def version(package: str) -> str:
    """Of an installed package; empty where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def python(found: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Its version, and which one runs."""
    said = f"{'.'.join(map(str, found))} ({sys.executable}), {platform.system()} {platform.machine()}"
    if found[:2] < MIN_PYTHON:
        least = ".".join(map(str, MIN_PYTHON))
        return Finding(Level.WRONG, "Python", said, f"make a virtual environment of Python {least} or newer")
    return Finding(Level.OK, "Python", said)


def of_the_server(installed: Installed = version, requires: Sequence[str] | None = None) -> Iterator[Finding]:
    """The packages beside onnxruntime: missing ones, those outside the ranges that Covey asks for, and the front."""
    found = {name: installed(name) for name in _NEEDED}
    missing = [name for name, number in found.items() if not number]
    if missing:
        yield Finding(Level.WRONG, "packages", f"{', '.join(missing)} not installed", _SERVER)
    ranges = _ranges(_own_requirements() if requires is None else requires)
    outside = [
        f"{name} {number} (expected {ranges[name]})"
        for name, number in found.items()
        if number and name in ranges and not _is_within(number, ranges[name])
    ]
    if outside:
        yield Finding(
            Level.WRONG, "packages", ", ".join(outside), "pip install --upgrade 'covey-serve[cpu]' (or [gpu])"
        )
    elif not missing:
        shown = ", ".join(f"{name} {found[name]}" for name in ("grpcio", "protobuf", "numpy", "pillow"))
        yield Finding(Level.OK, "packages", shown)
    if number := installed(_FAST_FRONT):
        yield Finding(Level.OK, "gRPC front", f"native ({_FAST_FRONT} {number})")
    elif not missing:
        yield Finding(
            Level.NOTE,
            "gRPC front",
            f"grpcio, which needs several times the processor time a call that the native one does: {_FAST_FRONT} is "
            f"not installed",
            f"pip install {_FAST_FRONT}, where it has a wheel for this system",
        )


def onnxruntime_builds() -> Mapping[str, str]:
    """The installed distributions that give the module onnxruntime, with their versions."""
    return {name: version(name) for name in set(metadata.packages_distributions().get("onnxruntime", ()))}


def onnxruntime(builds: Mapping[str, str]) -> Finding:
    """Which build there is; exactly one may be."""
    names = ", ".join(f"{name} {number}" for name, number in sorted(builds.items()))
    if not builds:
        return Finding(Level.WRONG, "onnxruntime", "not installed", _SERVER)
    if len(builds) > 1:
        return Finding(
            Level.WRONG,
            "onnxruntime",
            f"{names}: they share one folder, in which the later one has overwritten files of the other",
            f"pip uninstall {' '.join(sorted(builds))}, then {_SERVER}",
        )
    return Finding(Level.OK, "onnxruntime", names)


def _own_requirements() -> Sequence[str]:
    try:
        return metadata.requires("covey-serve") or ()
    except metadata.PackageNotFoundError:  # a source tree on the path
        return ()


def _ranges(requires: Sequence[str]) -> dict[str, str]:
    """The range of each package, such as ">=1.81.1,<2"."""
    matches = (re.match(r"([\w.-]+?)(?:\[[\w,-]*\])?\s*([<>=][^;\s]*)", each) for each in requires)
    return {match[1].lower(): match[2] for match in matches if match}


def _is_within(number: str, limits: str) -> bool:
    """Whether a version is in a range of >= and <; other comparisons are passed over."""
    for operator, limit in re.findall(r"(>=|<)([\d.]+)", limits):
        above = _parts(number) >= _parts(limit)
        if above != (operator == ">="):
            return False
    return True


def _parts(number: str) -> tuple[int, ...]:
    """`1.81.1rc1` as (1, 81, 1), without zeros at the end."""
    match = re.match(r"\d+(?:\.\d+)*", number)
    parts = [int(part) for part in match[0].split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
