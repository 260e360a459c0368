"""Owns what a benchmark says: rows of figures beside their floors, as a table, as JSON and as a picture."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("covey-serve", "onnxruntime", "grpcio", "pygrpc-native", "protobuf", "numpy")


@dataclass(frozen=True)
class Row:
    """One figure: the median of some rounds.

    `low` and `high` are its least and largest round. `ratio` is value / floor, and `target` the most it may be.
    """

    scenario: str
    figure: str
    unit: str
    value: float
    low: float
    high: float
    rounds: int
    floor: float | None = None
    ratio: float | None = None
    target: float | None = None
    met: bool | None = None


def make_row(
    scenario: str,
    figure: str,
    unit: str,
    values: Sequence[float],
    floors: Sequence[float] | None = None,
    target: float | None = None,
) -> Row:
    """Medians first, then their ratio. `floors` are those of the same rounds."""
    value = statistics.median(values)
    floor = statistics.median(floors) if floors is not None else None
    ratio = value / floor if floor else None
    met = ratio <= target if ratio is not None and target is not None else None
    return Row(scenario, figure, unit, value, min(values), max(values), len(values), floor, ratio, target, met)


def describe_machine() -> dict[str, str | int | float]:
    """What the figures depend on: the machine and the versions that produced them."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def render_table(rows: Sequence[Row]) -> str:
    """The rows for a terminal."""
    header = ("scenario", "figure", "value", "unit", "least-most", "floor", "ratio", "target", "met")
    lines: list[Sequence[str]] = [header]
    for row in rows:
        met = {None: "", True: "yes", False: "NO"}[row.met]
        spread = f"{row.low:,.1f}-{row.high:,.1f}"
        numbers = [_number(row.floor, 1), _number(row.ratio, 2), _number(row.target, 2)]
        lines.append((row.scenario, row.figure, f"{row.value:,.1f}", row.unit, spread, *numbers, met))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right_aligned = {2, 4, 5, 6, 7}

    def render(line: Sequence[str]) -> str:
        cells = (
            cell.rjust(width) if place in right_aligned else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([render(lines[0]), rule, *map(render, lines[1:])])


def write_json(path: Path, rows: Sequence[Row], machine: Mapping[str, str | int | float]) -> None:
    """Replaces `path` in one step: a list of rows, each with the machine it was measured on."""
    content = [asdict(row) | {"machine": dict(machine)} for row in rows]
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
