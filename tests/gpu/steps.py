"""Runs steps one after another within a time, and keeps what became of each in one file."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]  # what a step measured, as JSON can hold it


class Skipped(Exception):
    """A step that cannot run here; its text says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step: "passed", "failed" or "skipped", the reason of the last two, and its figures."""

    name: str
    outcome: str
    seconds: float
    reason: str = ""
    figures: Figures = field(default_factory=dict)


def run_all(
    steps: Mapping[str, Callable[[], Figures]],
    machine: Figures,
    file: Path,
    seconds: float,
    tell: Callable[[Outcome], object],
) -> Sequence[Outcome]:
    """Runs the steps; those that would begin after `seconds` are skipped. `file` is written after each step, so that a
    process that dies leaves what was found before."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    for name, step in steps.items():
        outcomes.append(_outcome(name, step, is_late=time.monotonic() - began > seconds))
        content = {"machine": machine, "steps": [asdict(each) for each in outcomes]}
        file.write_text(json.dumps(content, indent=2) + "\n")
        tell(outcomes[-1])
    return outcomes


def _outcome(name: str, step: Callable[[], Figures], *, is_late: bool) -> Outcome:
    if is_late:
        return Outcome(name, "skipped", 0.0, "no time was left")
    began = time.monotonic()
    outcome, reason = "passed", ""
    figures: Figures = {}
    try:
        figures = step()
    except Skipped as skipped:
        outcome, reason = "skipped", str(skipped)
    except Exception:  # noqa: BLE001 - whatever a device does, the other steps are worth running
        outcome, reason = "failed", traceback.format_exc(limit=-3)
    return Outcome(name, outcome, round(time.monotonic() - began, 2), reason, figures)
