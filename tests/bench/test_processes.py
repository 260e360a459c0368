"""Processes of a benchmark: what they cost, and what is said where one is not well."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.floors import DecodeFloor, OnnxruntimeCurve
from bench.load import measure_load, put_load
from bench.models import Models
from bench.mosec_peer import NotInstalled, install
from bench.photographs import jpeg, photograph
from bench.processes import BenchError, Server, covey_server, echo_server
from bench.raw_onnxruntime import RawOnnxruntime

WriteModel = Callable[..., Path]
BUSY = "import time\nwhile time.process_time() < 0.2: pass\n"


def test_a_server_that_does_not_start_is_reported_with_its_words(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"did not start:\n(.|\n)*nowhere"),
        covey_server(tmp_path / "nowhere", "native", tmp_path / "log"),
    ):
        pass


def test_failing_calls_end_the_benchmark(tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path / "models")
    with (
        covey_server(tmp_path / "models", "native", tmp_path / "log") as server,
        pytest.raises(BenchError, match=r"failed (\d+) of \1 calls"),
    ):
        put_load(server, [b"\xff not a ClassifyRequest"], in_flight=4, seconds=0.1)


def test_cpu_time_and_memory_are_those_that_the_process_used() -> None:
    script = f"{BUSY}print(flush=True)\ninput()\nblock = b'x' * 200_000_000\nprint(flush=True)\ninput()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        server = Server("busy", process, "nowhere", None)
        process.stdout.readline()
        first = server.cpu_seconds()
        assert first >= 0.18  # the kernel counts in hundredths
        assert server.cpu_seconds() == pytest.approx(first, abs=0.03)  # it waits now
        resident_before = server.resident_bytes()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        assert server.resident_bytes() - resident_before == pytest.approx(200e6, rel=0.05)
        process.stdin.close()
        process.wait()
    with pytest.raises(BenchError, match="busy is gone"):
        server.cpu_seconds()
    with pytest.raises(BenchError, match="busy is gone"):
        server.resident_bytes()


def test_the_cpu_time_of_what_a_process_started_is_counted_too() -> None:
    grandchild = f"{BUSY}print(flush=True)\ninput()"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {grandchild!r}])"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    command = [sys.executable, "-c", parent]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        total = Server("family", process, "nowhere", None).cpu_seconds()
        process.stdin.close()
    assert total >= 0.18 + 0.02  # the grandchild's own, and the starting of the others


def test_the_echo_answers_and_ends_with_its_input() -> None:
    with echo_server(answer_bytes=91) as server:
        load = measure_load(server, [b"message"], 8, 0.3)
        assert load.calls.calls > 0
        while not load.cpu_us:  # the kernel counts in ticks of 10 ms, and a busy machine gives a load few of them
            load = measure_load(server, [b"message"], 8, 0.3)
        assert load.cpu_us < 1000
        assert (load.mean_batch, server.batches()) == (0, (0, 0))
    with pytest.raises(BenchError, match="echo is gone"):
        server.cpu_seconds()
    server.metrics_url = f"http://{server.target}/metrics"
    with pytest.raises(BenchError, match=r"echo is gone: http.*/metrics cannot be read \(.*refused"):
        server.batches()


def test_onnxruntime_alone_runs_the_batch_it_is_asked_for(tmp_path: Path, write_echo_model: WriteModel) -> None:
    path = write_echo_model(tmp_path, shape=(3, 5, 1))
    raw = RawOnnxruntime(path)
    assert raw.image_shape == (3, 5, 1)
    assert raw.cpu_us_per_image(64) > 0
    curve = OnnxruntimeCurve(path, (1, 64))
    curve.measure()
    curve.measure()
    assert curve.best_size == 64  # an echo costs nothing but the call
    assert len(curve.best) == len(curve.single) == 2
    assert max(curve.best) < min(curve.single)


def test_the_floor_of_decoding_is_measured_with_the_servers_function(
    tmp_path: Path, write_echo_model: WriteModel
) -> None:
    raw = RawOnnxruntime(write_echo_model(tmp_path, shape=(32, 32, 3)))
    small, large = (DecodeFloor([jpeg(photograph(0, width, width))], raw) for width in (64, 1024))
    for floor in (small, large):
        floor.measure()
    assert 0 < small.values[0] < large.values[0]


def test_photographs_are_always_the_same_and_as_large_as_a_cameras() -> None:
    first, again, other = jpeg(photograph(1)), jpeg(photograph(1)), jpeg(photograph(2))
    assert first == again != other
    assert photograph(1).shape == (480, 640, 3)
    assert all(60_000 <= len(file) <= 100_000 for file in (first, other))


def test_models_are_copied_apart_and_missing_ones_named(tmp_path: Path, write_echo_model: WriteModel) -> None:
    file = write_echo_model(tmp_path / "models", "lenet")
    write_echo_model(tmp_path / "models", "mlp")
    models = Models(tmp_path / "models", None, print)
    copy = models.copy(["lenet"], tmp_path / "copy")
    assert [path.name for path in copy.iterdir()] == ["lenet"]
    assert (copy / "lenet" / "1" / "model.onnx").read_bytes() == file.read_bytes()
    with pytest.raises(BenchError, match=r"no vgg/1/model.onnx in .*; without --models it is exported"):
        models.file("vgg")


def test_where_pip_cannot_get_mosec_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(NotInstalled, match=r"not installed: .*mosec"):
        install(tmp_path / "environment")
