"""What `--assert` demands: its grammar, and whether a report meets it.

    ASSERTIONS  = ASSERTION {"," ASSERTION}
    ASSERTION   = FIGURE ("<" | "<=" | ">" | ">=" | "==") NUMBER

FIGURE is a name of covey_load.reports.figures, which must hold for each run of the report; or capacity_per_s.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from covey.errors import InvalidInput
from covey_load.measurement import Report
from covey_load.plan import Plan
from covey_load.reports import words
from covey_load.reports.figures import FIGURES

CAPACITY = "capacity_per_s"

_NO_CAPACITY = "no rate held, or none was searched for (--find-capacity)"
_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*")
_EXPECTED = "expected FIGURE<NUMBER, with one of < <= > >= ==, separated by commas, such as p99_ms<20,errors==0"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One demand on one figure."""

    figure: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.figure} {self.operator} {self.bound:g}"

    def judge(self, report: Report) -> list[tuple[bool, str]]:
        """Whether each run meets it, each with a sentence that says so with the figure. A figure that was not measured
        fails, with the reason."""
        if self.figure == CAPACITY:
            capacity = report.capacity
            return [self._judge_one("", capacity.rate_per_s if capacity else None, _NO_CAPACITY)]
        if not report.runs:
            return [self._judge_one("", None, "nothing was measured")]
        figure = FIGURES[self.figure]
        return [
            self._judge_one(f"{words.load_name(run.load)}: ", figure.value(run), figure.reason(run))
            for run in report.runs
        ]

    def _judge_one(self, prefix: str, value: float | None, reason: str) -> tuple[bool, str]:
        if value is None:
            return False, f"{prefix}{self} cannot be judged: {reason}"
        holds = _OPERATORS[self.operator](value, self.bound)
        return holds, f"{prefix}{self} {'holds' if holds else 'does not hold'}: it is {value:,.10g}"


def parse(text: str) -> list[Assertion]:
    """Parses assertions. Raises InvalidInput for anything else; for an unknown figure it lists the known ones."""
    return [_parse_one(part) for part in text.split(",")]


def require_judgeable(assertions: Sequence[Assertion], plan: Plan) -> None:
    """Raises InvalidInput where the tries of a capacity search would be judged: some of them are meant to fail."""
    others = [assertion.figure for assertion in assertions if assertion.figure != CAPACITY]
    if plan.find_capacity and others:
        raise InvalidInput(
            f"--assert: with --find-capacity only {CAPACITY} can be judged, not {', '.join(others)}: the search goes "
            f"on until a rate fails. Measure the others with --rate"
        )


def failures(assertions: Sequence[Assertion], report: Report) -> list[str]:
    """A sentence for each demand that is not met; empty where all are."""
    return [sentence for assertion in assertions for holds, sentence in assertion.judge(report) if not holds]


def passes(assertions: Sequence[Assertion], report: Report) -> list[str]:
    """A sentence for each demand that is met, with the figure."""
    return [sentence for assertion in assertions for holds, sentence in assertion.judge(report) if holds]


def _parse_one(part: str) -> Assertion:
    match = _FORM.fullmatch(part)
    if match is None:
        raise InvalidInput(f"--assert: {part.strip()!r} is no assertion; {_EXPECTED}")
    name, comparison, bound = match.groups()
    if name not in FIGURES and name != CAPACITY:
        raise InvalidInput(f"--assert: there is no figure {name!r}; there are {', '.join((*FIGURES, CAPACITY))}")
    return Assertion(name, comparison, float(bound))
