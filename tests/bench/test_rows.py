"""Figures, their floors, ratios and goals, and how they are written and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.picture import draw_goals
from bench.rows import Goal, Row, make_row, missing_row, write_json
from bench.table import number, render_markdown, render_table


def test_a_row_is_the_median_beside_the_median_of_its_floor() -> None:
    row = make_row("server", "CPU", "us", [90, 50, 60, 40, 100], [20, 30, 10, 25, 35], Goal(2.5, 2.0))
    assert (row.value, row.low, row.high, row.rounds) == (60, 40, 100, 5)
    assert (row.floor, row.target, row.stretch) == (25, 2.5, 2.0)
    assert (row.met, row.met_stretch) == (True, False)
    assert row.ratio == row.judged == pytest.approx(2.4)


@pytest.mark.parametrize(
    ("value", "goal", "met", "met_stretch"),
    [
        (30.0, Goal(2.9, 1.0), False, False),
        (29.0, Goal(2.9, 1.0), True, False),
        (10.0, Goal(2.9, 1.0), True, True),
        (29.0, Goal(3.0, 4.0, at_least=True), False, False),
        (30.0, Goal(3.0, 4.0, at_least=True), True, False),
        (40.0, Goal(3.0, 4.0, at_least=True), True, True),
        (29.0, Goal(2.9), True, False),
    ],
)
def test_goals_are_met_from_either_side(value: float, goal: Goal, met: bool, met_stretch: bool) -> None:
    row = make_row("server", "CPU", "us", [value], [10.0], goal)
    assert (row.met, row.met_stretch) == (met, met_stretch)


def test_without_a_floor_the_value_itself_is_judged() -> None:
    assert make_row("server", "failed", "answers", [0.0], goal=Goal(0, 0)).met_stretch is True
    assert make_row("server", "failed", "answers", [1.0], goal=Goal(0, 0)).met is False
    row = make_row("server", "rate", "requests/s", [1.0, 2.0])
    assert (row.value, row.floor, row.ratio, row.target, row.met) == (1.5, None, None, None, None)


def test_a_figure_that_means_nothing_meets_nothing() -> None:
    row = make_row("server", "CPU", "us", [10.0], [10.0], Goal(2.9, 1.5), note="invalid: late")
    assert (row.ratio, row.met, row.met_stretch) == (1.0, None, False)
    missing = missing_row("mosec", "CPU", "us", Goal(0.9, 0.75), "not installed")
    assert (missing.value, missing.target, missing.met, missing.rounds) == (None, 0.9, None, 0)


ROWS = [
    make_row("short", "CPU", "us/request", [12_345.67, 12_345.67]),
    make_row("a longer scenario", "CPU", "us/request", [60.0, 62.0], [20.0, 20.0], Goal(2.5, 1.5), against="an echo"),
    make_row("overload", "in time", "answers/s", [98.0], [100.0], Goal(0.9, 0.97, at_least=True)),
    make_row("late", "in time", "answers/s", [98.0], [100.0], Goal(0.9), note="invalid: late"),
    make_row("five", "CPU", "us/request", [50.0], [40.0]),
    missing_row("mosec", "CPU", "us/request", Goal(0.9, 0.75), "not installed: no pip"),
]


def test_the_table_shows_ratios_and_goals_in_columns_and_notes_below() -> None:
    header, rule, *lines = render_table(ROWS).splitlines()
    assert header.split() == [
        *("scenario", "figure", "value", "unit", "floor", "ratio", "target", "stretch", "met", "least-most"),
    ]
    assert [line.split("  ")[0] for line in lines[:5]] == ["a longer scenario", "overload", "late", "five", "mosec"]
    ends = ["<= 2.50  <= 1.50  NO            60-62", ">= 0.900  >= 0.970  stretch", "<= 0.900           -"]
    assert [" ".join(line.split()[-len(end.split()) :]) for line, end in zip(lines, ends, strict=False)] == [
        " ".join(end.split()) for end in ends
    ]
    assert lines[4].split()[-6:] == ["<=", "0.900", "<=", "0.750", "not", "measured"]
    assert lines[-2:] == ["late, in time: invalid: late", "mosec, CPU: not installed: no pip"]
    assert all(line.index("CPU") == header.index("figure") for line in (lines[0], lines[3], lines[4]))
    assert all(len(line) <= len(rule) for line in (header, *lines[:5]))


def test_markdown_holds_every_row_and_the_machine() -> None:
    text = render_markdown(ROWS, {"cpu": "one", "cores": 2})
    assert text.startswith("cpu one, cores 2\n")
    assert (
        "| a longer scenario | CPU | 61 | us/request | 20 | 3.05 | <= 2.50 | <= 1.50 | NO | 60-62 | an echo |" in text
    )
    assert "| short | CPU | 12,346 | us/request | 12,346-12,346 |  |  |  |" in text
    assert all(row.scenario in text for row in ROWS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (0.0, "0"), (0.9123, "0.912"), (1.432, "1.43"), (56.64, "56.6"), (24_152.3, "24,152"), (4.0, "4")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
    assert number(float("inf")) == "none"


def test_json_holds_every_column_and_replaces_the_file_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    path.write_text("old")
    never = make_row("server", "latency", "ms", [float("inf")])
    rows = [make_row("server", "CPU", "us", [60.0], [20.0], Goal(2.5, 2.0), against="an echo"), ROWS[-1], never]
    write_json(path, rows, {"cpu": "one", "cores": 2})
    row, missing, unanswered = json.loads(path.read_text())
    assert unanswered["value"] is None
    assert row["machine"] == {"cpu": "one", "cores": 2}
    expected = {"scenario": "server", "figure": "CPU", "unit": "us", "value": 60, "floor": 20, "ratio": 3}
    assert row.items() >= {**expected, "target": 2.5, "stretch": 2.0, "met": False, "against": "an echo"}.items()
    assert {"low", "high", "rounds", "note"} <= row.keys()
    assert (missing["value"], missing["met"], missing["note"]) == (None, None, "not installed: no pip")
    assert [file.name for file in tmp_path.iterdir()] == ["latest.json"]


@pytest.mark.parametrize("rows", [ROWS, [], [make_row("reload", "failed", "answers", [3.0], goal=Goal(0, 0))]])
def test_the_picture_can_be_drawn_of_any_rows(tmp_path: Path, rows: list[Row]) -> None:
    draw_goals(rows, "caption", tmp_path / "latest.png")
    assert [file.name for file in tmp_path.iterdir()] == ["latest.png"]
    assert (tmp_path / "latest.png").read_bytes().startswith(b"\x89PNG")
