"""Figures, their floors and their ratios, and how they are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.rows import make_row, render_table, write_json


def test_a_row_is_the_median_beside_the_median_of_its_floor() -> None:
    row = make_row("server", "CPU", "us", [90, 50, 60, 40, 100], [20, 30, 10, 25, 35], target=2.5)
    assert (row.value, row.low, row.high, row.rounds) == (60, 40, 100, 5)
    assert (row.floor, row.target, row.met) == (25, 2.5, True)
    assert row.ratio == pytest.approx(2.4)


def test_a_missed_target_is_not_met() -> None:
    assert make_row("server", "CPU", "us", [30.0], [10.0], target=2.9).met is False
    assert make_row("server", "CPU", "us", [29.0], [10.0], target=2.9).met is True


def test_without_a_floor_there_is_no_ratio_and_nothing_to_meet() -> None:
    row = make_row("server", "rate", "requests/s", [1.0, 2.0])
    assert (row.value, row.floor, row.ratio, row.target, row.met) == (1.5, None, None, None, None)


def test_the_table_shows_every_row_in_columns() -> None:
    rows = [
        make_row("short", "CPU", "us/request", [12_345.67]),
        make_row("a longer scenario", "CPU", "us/request", [60.0], [20.0], target=2.5),
    ]
    header, rule, first, second = render_table(rows).splitlines()
    assert header.split() == ["scenario", "figure", "value", "unit", "least-most", "floor", "ratio", "target", "met"]
    assert first.split() == ["short", "CPU", "12,345.7", "us/request", "12,345.7-12,345.7"]
    assert second.split()[-4:] == ["20.0", "3.00", "2.50", "NO"]
    ends = [index for index, character in enumerate(rule) if character == "-" and rule[index + 1 : index + 2] != "-"]
    assert header.index("figure") == first.index("CPU") == second.index("CPU")
    assert all(len(line) <= ends[-1] + 1 for line in (header, first, second))


def test_json_holds_every_column_and_replaces_the_file_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "latest.json"
    path.write_text("old")
    write_json(path, [make_row("server", "CPU", "us", [60.0], [20.0], target=2.5)], {"cpu": "one", "cores": 2})
    (row,) = json.loads(path.read_text())
    assert row["machine"] == {"cpu": "one", "cores": 2}
    expected = {"scenario": "server", "figure": "CPU", "unit": "us", "value": 60, "floor": 20, "ratio": 3}
    assert row.items() >= {**expected, "target": 2.5, "met": False}.items()
    assert [each.name for each in tmp_path.iterdir()] == ["latest.json"]
