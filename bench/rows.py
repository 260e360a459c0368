"""Owns what a benchmark says: rows of figures, each beside its floor and its goal, and how they become JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from covey_load.runner import cpu_name

PACKAGES = ("covey-serve", "onnxruntime", "grpcio", "pygrpc-native", "protobuf", "numpy", "pillow")

Machine = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Goal:
    """What a figure should reach: at most `target`, or at least with `at_least`; `stretch` is better
    still. A row with a floor is judged by its ratio, one without by its value."""

    target: float
    stretch: float | None = None
    at_least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether the value reaches the target."""
        return _reaches(value, self.target, self.at_least)


@dataclass(frozen=True)
class Row:
    """One figure: the median of some rounds, `low` and `high` are its smallest and largest.

    `ratio` is value / floor, and `against` says what the floor is. `met` is None where there is no goal, or where
    `note` says why the figure is missing or means nothing.
    """

    scenario: str
    figure: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    rounds: int
    floor: float | None = None
    ratio: float | None = None
    target: float | None = None
    stretch: float | None = None
    at_least: bool = False
    met: bool | None = None
    against: str = ""
    note: str = ""

    @property
    def judged(self) -> float | None:
        """The value that is compared with the target."""
        return self.value if self.ratio is None else self.ratio

    @property
    def met_stretch(self) -> bool:
        """Whether the value reaches the stretch target, too."""
        return bool(self.met and self.stretch is not None and _reaches(self.judged, self.stretch, self.at_least))


def make_row(
    scenario: str,
    figure: str,
    unit: str,
    values: Sequence[float],
    floors: Sequence[float] | None = None,
    goal: Goal | None = None,
    *,
    against: str = "",
    note: str = "",
) -> Row:
    """A row of medians and their ratio. `floors` are those of the same rounds. A row with a note has no verdict."""
    value = statistics.median(values)
    floor = statistics.median(floors) if floors is not None else None
    ratio = value / floor if floor else None
    judged = value if ratio is None else ratio
    return Row(
        scenario,
        figure,
        unit,
        value,
        min(values),
        max(values),
        len(values),
        floor,
        ratio,
        goal.target if goal else None,
        goal.stretch if goal else None,
        bool(goal and goal.at_least),
        goal.met_by(judged) if goal and not note else None,
        against,
        note,
    )


def missing_row(scenario: str, figure: str, unit: str, goal: Goal | None, note: str) -> Row:
    """A figure that could not be measured, and why."""
    target, stretch = (goal.target, goal.stretch) if goal else (None, None)
    at_least = bool(goal and goal.at_least)
    return Row(
        scenario, figure, unit, None, None, None, 0, target=target, stretch=stretch, at_least=at_least, note=note
    )


def describe_machine() -> dict[str, str | int | float]:
    """What the figures depend on: the machine and the versions that produced them."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def write_json(path: Path, rows: Sequence[Row], machine: Machine) -> None:
    """Replaces `path` in one step: a list of rows, each with the machine it was measured on. What is infinite, such as
    the latency where nothing was answered, becomes null: JSON has no word for it."""
    content = [{name: _finite(value) for name, value in asdict(row).items()} | {"machine": machine} for row in rows]
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Replaces `path` in one step."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _reaches(value: float | None, target: float, at_least: bool) -> bool:
    if value is None:
        return False
    return value >= target if at_least else value <= target
