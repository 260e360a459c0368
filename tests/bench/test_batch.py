"""The comparison of `covey batch` with hand-written loops, short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench import batch
from bench.processes import BenchError
from tests.conftest import WriteModel


def test_covey_and_both_loops_take_turns(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    write_echo_model(models, "lenet", shape=(28, 28, 1))
    results = tmp_path / "rows.json"
    options = ["--images", "20", "--photographs", "0", "--rounds", "1", "--work", tmp_path, "--models", models]
    assert batch.main([*map(str, options), "--json", str(results)]) == 0
    captured = capsys.readouterr()
    assert "20 of 20 images have the same class by both" in captured.err
    rows = json.loads(results.read_text())
    figures = [(row["figure"], row["against"]) for row in rows]
    rates = [("threads", ""), ("processes", ""), ("covey", "threads"), ("covey", "processes")]
    assert figures == rates + [(f"{kind}, CPU", "") for kind in ("covey", *batch.LOOPS)]
    for loop, covey in zip(rows[:2], rows[2:4], strict=True):
        assert covey["ratio"] == pytest.approx(covey["value"] / loop["value"])
        assert (covey["target"], covey["at_least"]) == (0.95, True)
        assert f"| digits | covey | {covey['value']:,.0f} images/s |" in captured.out


@pytest.mark.parametrize("theirs", ["0,1,1", "0,1", "0,0,0"])
def test_rows_that_differ_are_no_result(theirs: str, tmp_path: Path) -> None:
    for name, classes in (("covey", "0,1,0"), ("loop", theirs)):
        rows = [f"{number}.png,{index}" for number, index in enumerate(classes.split(","))]
        (tmp_path / name).write_text("\n".join(["key,index", *rows]) + "\n")
    with pytest.raises(BenchError, match="expected 3 rows that agree"):
        batch.require_alike(tmp_path / "covey", tmp_path / "loop", 3)
    batch.require_alike(tmp_path / "covey", tmp_path / "covey", 3)
