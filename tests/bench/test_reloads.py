"""Reloads and soaks, short, against the real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import soak
from bench.memory_curve import Curve
from bench.models import Models
from bench.processes import BenchError, covey_server
from bench.publishing import publish, wait_until_served
from bench.rows import Goal
from bench.run import Run
from bench.scenarios import reload

WriteModel = Callable[..., Path]
FLAGS = ("--reload-interval-s", "0.05")


def test_a_published_version_is_seen_once_it_is_served(tmp_path: Path, write_echo_model: WriteModel) -> None:
    file = write_echo_model(tmp_path / "models", "lenet")
    with covey_server(tmp_path / "models", "native", tmp_path / "log", FLAGS) as server:
        publish(file, tmp_path / "models" / "lenet", 2)
        wait_until_served(server, "lenet", 2)
        with pytest.raises(BenchError, match="version 3 of lenet was published 0 s ago and version 2 is served"):
            wait_until_served(server, "lenet", 3, timeout_s=0)
        with pytest.raises(BenchError, match="GetModel nobody: NOT_FOUND"):
            wait_until_served(server, "nobody", 1)
    assert sorted(path.name for path in (tmp_path / "models" / "lenet").iterdir()) == ["1", "2"]


def test_reloads_under_load_are_all_seen_and_all_answers_checked(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo_model(tmp_path / "models", "lenet", shape=(28, 28, 1))
    monkeypatch.setattr(reload, "RELOADS", 2)
    monkeypatch.setattr(reload, "LOAD", 0.1)
    models = Models(tmp_path / "models", None, print)
    rows = reload.reload(Run(models, tmp_path, tmp_path, 1, 0.2, print), "lenet", Goal(0, 0), Goal(2.0, 1.3))
    figures = {row.figure: row for row in rows}
    assert figures["failed or wrong answers"].value == 0
    assert figures["versions that answered"].value == 3
    assert (figures["ended OK"].value or 0) > 0
    assert figures["latency p99"].floor


def test_a_short_soak_draws_memory_and_finds_nothing_wrong(
    tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "CHUNK", 200)
    write_echo_model(tmp_path / "models", "lenet", shape=(28, 28, 1))
    results = tmp_path / "results"
    arguments = ["--requests", "400", "--reloads", "2", "--models", str(tmp_path / "models")]
    soak.main([*arguments, "--results", str(results)])
    output = capsys.readouterr().out
    rows = {(row["scenario"], row["figure"]): row for row in json.loads((results / "soak.json").read_text())}
    assert rows["400 requests", "failed or wrong answers"]["value"] == 0, output
    assert rows["2 reloads", "failed or wrong answers"]["value"] == 0, output
    assert rows["400 requests", "memory growth"]["target"] == 2
    assert rows["2 reloads", "memory growth"]["target"] == 5
    assert (results / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_growth_counts_from_a_tenth_of_what_ran() -> None:
    curve = Curve("requests", 100)
    for unit, resident_bytes in (
        (0, 50_000_000),
        (5, 90_000_000),
        (10, 100_000_000),
        (50, 130_000_000),
        (80, 110_000_000),
    ):
        curve.add(unit, resident_bytes)
    assert curve.settled_mb == 100
    assert curve.growth_percent == pytest.approx(10)
    growth, failures, *_ = curve.rows(Goal(2.0))
    assert (growth.scenario, growth.met, growth.note) == ("80 requests", None, "ended early, 100 were planned")
    assert (failures.value, failures.met, failures.note) == (None, None, "not looked at: ended early")
    curve.wrong = 0
    assert curve.rows(Goal(2.0))[1].met is True
