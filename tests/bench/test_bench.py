"""The benchmark itself, short, against the real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bench import raw_onnxruntime
from bench.__main__ import main, measure
from bench.models import Models
from bench.plan import SCENARIOS
from bench.run import Run
from bench.scenarios import many_images, options

WriteModel = Callable[..., Path]


@pytest.fixture
def models(tmp_path: Path, write_echo_model: WriteModel) -> Path:
    """The models that scenarios ask for, all of them echoes."""
    folder = tmp_path / "models"
    for name in ("lenet", "mlp", "mnist-cnn", "mnist-deep", "cifar-net"):
        write_echo_model(folder, name, shape=(28, 28, 1))
    write_echo_model(folder, "shufflenet", shape=(32, 32, 3))
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_onnxruntime, "MEASURED_S", 0.005)
    monkeypatch.setattr(many_images, "PHOTOGRAPHS", 3)


def run(models: Path, results: Path, names: str, rounds: int = 1) -> dict[tuple[str, str], dict[str, object]]:
    arguments = ["--models", str(models), "--results", str(results), "--rounds", str(rounds), "--only", names]
    assert main([*arguments, "--seconds", "0.1"]) == 0
    content = json.loads((results / "latest.json").read_text())
    rows = {(row["scenario"], row["figure"]): row for row in content}
    assert len(rows) == len(content)
    return rows


def test_many_in_flight_are_held_against_echo_and_onnxruntime(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run(models, tmp_path / "results", "lenet", rounds=2)
    output = capsys.readouterr().out
    cpu = rows["lenet, 64 in flight", "server CPU"]
    echo = rows["floor: echo, 64 in flight, as lenet", "server CPU"]
    curve = [row["value"] for (scenario, _), row in rows.items() if scenario == "floor: onnxruntime alone, lenet"]
    assert isinstance(echo["value"], float)
    assert cpu["floor"] == pytest.approx(echo["value"] + min(float(str(value)) for value in curve), rel=0.2)
    assert (cpu["target"], cpu["stretch"], cpu["met"]) == (1.4, 1.15, float(str(cpu["ratio"])) <= 1.4)
    batch = rows["lenet, 64 in flight", "mean batch"]["value"]
    assert isinstance(batch, float)
    assert 1 <= batch <= 64
    for row in rows.values():
        assert row["rounds"] == 2
        assert float(str(row["low"])) <= float(str(row["value"])) <= float(str(row["high"]))
        assert (str(row["scenario"]) in output) or row["ratio"] is None
    machine = cpu["machine"]
    assert isinstance(machine, dict)
    assert {"date", "cpu", "cores", "python", "onnxruntime", "grpcio", "pygrpc-native"} <= machine.keys()
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        *("latest.json", "latest.md", "latest.png", "logs"),
    }


def test_one_in_flight_and_the_fronts_are_compared(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "latency,fronts")
    latency = rows["lenet, 1 in flight", "latency p50"]
    assert latency["against"] == "p50 of the echo + onnxruntime alone at batch 1"
    fronts = rows["lenet, 64 in flight, grpcio front", "server CPU"]
    assert (fronts["at_least"], fronts["target"]) == (True, 4)


def test_calls_of_many_images_and_of_many_models(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "packed,jpeg,five-models")
    packed = rows["lenet, 256 images per call, 4 in flight", "server CPU"]
    assert str(packed["against"]).startswith("onnxruntime alone at batch ")
    jpeg = rows["shufflenet, JPEGs of 640x480, 16 in flight", "server CPU"]
    decode = rows["floor: decode + resize", "CPU"]
    assert float(str(jpeg["floor"])) > float(str(decode["low"])) > 0
    shares = rows["five models, 64 in flight", "fewest requests of a model / mean"]
    assert 0 < float(str(shares["value"])) <= 1
    rates = [float(str(row["low"])) for (_, figure), row in rows.items() if figure.startswith("throughput of ")]
    assert len(rates) == 5
    assert min(rates) > 0


def test_overload_and_footprint(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "overload,memory,start")
    capacity = rows["mnist-cnn, closed loop, 64 in flight", "capacity"]
    for factor in ("1.5", "3"):
        scenario = f"mnist-cnn, Poisson, {factor} x capacity, 50 ms"
        in_time = rows[scenario, "answers in time"]
        assert in_time["floor"] == capacity["value"]
        ends = [row["value"] for (name, figure), row in rows.items() if name == scenario and figure.startswith("ended")]
        assert sum(float(str(end)) for end in ends) == pytest.approx(100)
    assert 20 < float(str(rows["lenet loaded", "resident memory"]["value"])) < 1000
    assert 0 < float(str(rows["start with 5 models", "process start to ready"]["value"])) < 60


def test_two_processes_are_held_against_one(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "processes")
    scenario = "lenet, 64 in flight by 32 connections"
    cpu = rows[f"{scenario}, 2 processes", "server CPU"]
    assert (cpu["target"], cpu["against"]) == (None, "1 process")
    memory = rows[f"{scenario}, 2 processes", "resident memory of all"]
    assert 1.5 < float(str(memory["ratio"])) < 3.5
    for side in ("1 process", "2 processes"):
        assert float(str(rows[f"{scenario}, {side}", "throughput"]["value"])) > 0


def test_what_options_cost_is_held_against_the_same_without(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = ("traces of 1%", "--capture, and of the uncertain", "canary for half", "--limits-file")
    kept = tuple(option for option in options.OPTIONS if option.name in tried)
    assert len(kept) == len(tried)
    monkeypatch.setattr(options, "OPTIONS", kept)
    rows = run(models, tmp_path / "results", "options")
    for name in tried:
        for scenario, figure in (("64", "server CPU"), ("64", "throughput"), ("1", "latency p50")):
            row = rows[f"lenet, {name}, {scenario} in flight", figure]
            assert (row["against"], row["met"]) == ("the same without", None)
            assert float(str(row["ratio"])) > 0
    logs = "".join(log.read_text() for log in (tmp_path / "results" / "logs").iterdir())
    assert "version 2 is the canary and gets 50% of the callers" in logs


def test_what_security_costs_is_held_against_the_same_without(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "tokens,tls")
    tokens = rows["lenet, 64 in flight, tokens", "server CPU"]
    assert (tokens["target"], tokens["against"]) == (1.02, "the same without tokens")
    tls = rows["lenet, 64 in flight, grpcio front, TLS", "server CPU"]
    assert (tls["target"], tls["against"]) == (None, "the same in plaintext")
    assert min(float(str(row["low"])) for row in rows.values()) > 0


def test_the_sdk_is_held_against_plain_calls_a_stub_and_onnxruntime(models: Path, tmp_path: Path) -> None:
    rows = run(models, tmp_path / "results", "sdk-coalesce,sdk-call,sdk-many")
    together = rows["SDK, lenet, 256 tasks, coalesce=True", "throughput"]
    assert (together["target"], together["at_least"]) == (5, True)
    assert float(str(together["ratio"])) > 1
    lone = rows["SDK, lenet, 1 in flight, coalesce=True", "latency p50"]
    assert (lone["target"], lone["against"]) == (1.05, "plain calls of the same client")
    assert rows["SDK, lenet, AsyncClient, 64 in flight", "client CPU"]["against"] == "a bare grpc.aio stub"
    for client in ("Client", "AsyncClient"):
        assert float(str(rows[f"SDK, lenet, {client}.classify_many", "client CPU"]["low"])) > 0


def test_a_scenario_that_fails_is_a_row_and_the_others_go_on(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "mnist-cnn" / "1" / "model.onnx").unlink()
    arguments = ["--models", str(models), "--results", str(tmp_path / "results"), "--rounds", "1"]
    assert main([*arguments, "--seconds", "0.1", "--only", "mnist-cnn,memory"]) == 1
    output = capsys.readouterr()
    assert f"failed: no mnist-cnn/1/model.onnx in {models}" in output.err
    rows = json.loads((tmp_path / "results" / "latest.json").read_text())
    assert [(row["scenario"], row["value"] is None) for row in rows][:2] == [
        ("mnist-cnn", True),
        ("lenet loaded", False),
    ]
    assert "not measured" in output.out


def test_rows_are_kept_after_each_scenario(tmp_path: Path) -> None:
    counts_kept: list[int] = []
    run = Run(Models(tmp_path, None, print), tmp_path, tmp_path, 1, 0.1, print)
    rows, complete = measure(run, ["lenet", "mnist-cnn"], lambda rows: counts_kept.append(len(rows)))
    assert (counts_kept, len(rows), complete) == ([1, 2], 2, False)


def test_unknown_scenarios_are_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "lenet,nonsense"])
    error = capsys.readouterr().err
    assert "no scenario nonsense" in error
    assert all(name in error for name in SCENARIOS)
