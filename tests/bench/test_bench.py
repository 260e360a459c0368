"""The benchmark itself, short, against the real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.__main__ import main
from bench.http2_frames import length_prefixed
from bench.processes import BenchError, Server, covey_server, echo_server, put_load
from bench.raw_onnxruntime import RawOnnxruntime

WriteModel = Callable[..., Path]


def test_one_short_run_measures_everything(
    tmp_path: Path, write_echo_model: WriteModel, capsys: pytest.CaptureFixture[str]
) -> None:
    write_echo_model(tmp_path / "models", "lenet", shape=(28, 28, 1))
    results = tmp_path / "results"
    models = tmp_path / "models"
    code = main(["--models", str(models), "--results", str(results), "--rounds", "2", "--seconds", "0.3"])
    output = capsys.readouterr()
    assert code == 0, output.err
    content = json.loads((results / "latest.json").read_text())
    rows = {(row["scenario"], row["figure"]): row for row in content}
    assert len(rows) == len(content)
    assert all(row["rounds"] == 2 and 0 <= row["low"] <= row["value"] <= row["high"] for row in content)
    cpu = rows["covey-server --front native, 64 in flight", "server CPU"]
    echo = rows["floor: echo, 64 in flight", "server CPU"]
    alone = rows["floor: onnxruntime alone, 1 thread", "CPU, batch 32"]
    assert cpu["floor"] == pytest.approx(echo["value"] + alone["value"])
    assert cpu["ratio"] == pytest.approx(cpu["value"] / cpu["floor"])
    assert (cpu["target"], cpu["met"]) == (2.5, cpu["ratio"] <= 2.5)
    assert 1 <= rows["covey-server --front grpcio, 64 in flight", "mean batch"]["value"] <= 32
    for row in content:
        assert row["scenario"] in output.out
    assert {"date", "cpu", "cores", "python", "onnxruntime", "grpcio", "pygrpc-native"} <= set(content[0]["machine"])
    assert (results / "latest.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_model_it_says_which_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(tmp_path), "--results", str(tmp_path)]) == 1
    assert "no lenet/1/model.onnx" in capsys.readouterr().err


def test_a_server_that_does_not_start_is_reported_with_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"did not start:\n(.|\n)*nowhere"),
        covey_server(tmp_path / "nowhere", "native", tmp_path / "log"),
    ):
        pass


def test_failing_calls_end_the_benchmark(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path / "models")
    messages = tmp_path / "messages"
    messages.write_bytes(length_prefixed(b"\xff not a ClassifyRequest"))
    with (
        covey_server(tmp_path / "models", "native", tmp_path / "log") as server,
        pytest.raises(BenchError, match=r"failed (\d+) of \1 calls"),
    ):
        put_load(server, messages, in_flight=4, seconds=0.1)


def test_cpu_time_is_what_the_process_used() -> None:
    script = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = Server("busy", process, "nowhere", None)
        process.stdout.readline()
        first = server.cpu_seconds()
        assert first >= 0.18  # the kernel counts in hundredths
        assert server.cpu_seconds() == pytest.approx(first, abs=0.03)  # it waits now
        process.stdin.close()
        process.wait()
    with pytest.raises(BenchError, match="busy is gone"):
        server.cpu_seconds()


def test_the_echo_answers_and_ends_with_its_input(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    messages.write_bytes(length_prefixed(b"message"))
    with echo_server(answer_bytes=91) as server:
        assert put_load(server, messages, in_flight=8, seconds=0.1).calls > 0
        assert server.batches() == (0, 0)
    with pytest.raises(BenchError, match="echo is gone"):
        server.cpu_seconds()


def test_onnxruntime_alone_runs_the_batch_it_is_asked_for(tmp_path: Path, write_echo_model: WriteModel) -> None:
    raw = RawOnnxruntime(write_echo_model(tmp_path, shape=(3, 5, 1)))
    assert raw.image_shape == (3, 5, 1)
    assert raw.cpu_us_per_image(64) > 0
