"""The command `covey-server` as a process: its ready line, its signals, its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest
from bench.processes import fetch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.conftest import WriteModel
from tests.waiting import wait_until

from covey_proto.inference import open_inference_pb2 as oi
from covey_proto.v1 import classifier_pb2 as pb

LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
MODULE = ("-m", "covey_server")
# The same, but that it gives up soon on what it waits for when it stops.
IMPATIENT = """
import covey_server.__main__, covey_server.app
covey_server.app._FLUSH_S = 0.2
raise SystemExit(covey_server.__main__.main())
"""


class Process:
    """A covey-server on free ports."""

    def __init__(self, *flags: str, command: Sequence[str] = MODULE) -> None:
        line = [sys.executable, *command, "--grpc-port", "0", "--metrics-port", "0", *flags]
        self.popen = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def target(self) -> str:
        """Waits until it is ready; its gRPC address."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        match = re.fullmatch(r"covey-server ready grpc=(\S+) metrics=(\S+) http=\S+\n", line)
        assert match is not None, line or self.popen.communicate()[1]
        self.metrics_url = f"http://{match[2]}/metrics"
        return match[1]

    def wait_for_log(self, text: str) -> None:
        """Reads its log until a line with the text comes."""
        assert self.popen.stderr is not None
        assert any(text in line for line in self.popen.stderr), f"it ended without saying {text!r}"

    def end(self) -> tuple[int, str]:
        """Waits for it; its exit code and what it logged."""
        _, log = self.popen.communicate(timeout=60)
        return self.popen.returncode, log


@pytest.fixture(params=["native", "grpcio", "2 processes"])
def kind(request: pytest.FixtureRequest) -> str:
    """A front, or several processes with the native one."""
    return str(request.param)


# What a front has no part in: what is said and returned before there is one.
BEFORE_IT_LISTENS = pytest.mark.parametrize("kind", ["native", "2 processes"])


@pytest.fixture
def front(kind: str) -> str:
    return kind if kind in ("native", "grpcio") else "native"


@pytest.fixture
def start(kind: str, front: str) -> Iterator[type[Process]]:
    """Starts servers of one kind; none outlives the test."""
    processes = "2" if kind == "2 processes" else "1"
    started: list[subprocess.Popen[str]] = []

    class OnFront(Process):
        def __init__(self, *flags: str, command: Sequence[str] = MODULE) -> None:
            super().__init__("--front", front, "--processes", processes, *flags, command=command)
            started.append(self.popen)

    yield OnFront
    for popen in started:
        popen.kill()  # its processes end with it
        popen.communicate()


def test_sigterm_under_load_answers_every_accepted_call(
    start: type[Process], front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path))
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(range(16)) * 500), top_k=1).SerializeToString()
    outcomes: list[str] = []
    under_way = threading.Semaphore(0)

    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")

        def call_until_refused() -> None:
            while True:
                try:
                    response = pb.ClassifyResponse.FromString(classify(request, timeout=30))
                except grpc.RpcError as error:
                    outcomes.append(f"{error.code().name} {error.details()}")
                    return
                assert [result.classes[0].index for result in response.results] == [9] * 500
                under_way.release()

        callers = [threading.Thread(target=call_until_refused) for _ in range(8)]
        for caller in callers:
            caller.start()
        for _ in range(40):
            assert under_way.acquire(timeout=30)
        server.popen.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(60)
        assert len(outcomes) == len(callers), "a caller met a wrong answer"
    code, log = server.end()
    assert code == 0, log
    assert "stopped after" in log
    # Refused by the server's own words, or at the door after its end. grpcio itself cancels what it had not yet
    # handed over.
    allowed = {"UNAVAILABLE"} if front == "native" else {"UNAVAILABLE", "CANCELLED"}
    assert {outcome.split()[0] for outcome in outcomes} <= allowed, outcomes


def test_a_terminal_that_closes_stops_it_in_good_order(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """SIGHUP: the shell and the kernel may both send it."""
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path), "--max-batch-size", "1")
    many = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 20_000)), top_k=1).SerializeToString()
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        call = classify.future(many, timeout=60)
        while "covey_calls_in_flight 1.0" not in fetch(server.metrics_url):
            assert not call.done()
        server.popen.send_signal(signal.SIGHUP)
        server.wait_for_log("stopping: 1 calls to answer first")
        server.popen.send_signal(signal.SIGHUP)
        assert len(pb.ClassifyResponse.FromString(call.result()).results) == 20_000
    code, log = server.end()
    assert code == 0, log


def test_load_balancers_get_time_to_see_that_it_is_not_ready(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path), "--drain-delay-s", "86400")
    one = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)), top_k=1).SerializeToString()
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        server.popen.send_signal(signal.SIGTERM)
        server.wait_for_log("not ready; new calls are still taken for 86400 s")
        assert "covey_ready 0.0" in fetch(server.metrics_url)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert len(pb.ClassifyResponse.FromString(classify(one, timeout=60)).results) == 1
    server.popen.send_signal(signal.SIGTERM)
    code, log = server.end()
    assert code == 130, log


def test_it_outlives_a_terminal_if_it_was_told_to(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """As nohup starts it."""
    write_echo_model(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server = start("--models", str(tmp_path))
    finally:
        signal.signal(signal.SIGHUP, before)
    target = server.target()
    server.popen.send_signal(signal.SIGHUP)
    with grpc.insecure_channel(target) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString(), timeout=30)
    server.popen.send_signal(signal.SIGTERM)
    code, log = server.end()
    assert code == 0, log


def test_it_stops_when_asked_after_it_was_frozen(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path))
    server.target()
    server.popen.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(server.popen.pid, os.WUNTRACED)[1])
    server.popen.send_signal(signal.SIGCONT)
    server.popen.send_signal(signal.SIGTERM)
    code, _ = server.end()
    assert code == 0


def test_a_second_signal_ends_it_at_once_and_leaves_no_file(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_echo_model(tmp_path)
    with tempfile.TemporaryDirectory(prefix="t") as temporary:  # a short name: sockets need that
        monkeypatch.setenv("TMPDIR", temporary)
        server = start("--models", str(tmp_path), "--max-batch-size", "1")
        _stop_twice_while_it_computes(server)
        assert not any(Path(temporary).iterdir())


def _stop_twice_while_it_computes(server: Process) -> None:
    endless = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16 * 250_000)), top_k=10).SerializeToString()
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        call = classify.future(endless)
        while "covey_calls_in_flight 1.0" not in fetch(server.metrics_url):
            assert not call.done()
        server.popen.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping: 1 calls to answer first")
        server.popen.send_signal(signal.SIGTERM)
        code, _ = server.end()
        call.cancel()
    assert code == 130


def test_an_engine_that_hangs_is_bounded_and_reported(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, hangs_at=77)
    server = start("--models", str(tmp_path), "--engine-timeout-s", "0.5", "--drain-timeout-s", "1")
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        health = health_pb2_grpc.HealthStub(channel)
        classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString(), timeout=20)
        alive = health.Watch(health_pb2.HealthCheckRequest(service="live"))
        assert next(alive).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            classify(pb.ClassifyRequest(pixels=pb.Pixels(data=bytes([77] * 16))).SerializeToString(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert "has not answered a batch of 1 images within 0.5 s" in (caught.value.details() or "")
        assert next(alive).status == health_pb2.HealthCheckResponse.NOT_SERVING
        ready = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert ready.status == health_pb2.HealthCheckResponse.NOT_SERVING
        # Of a process that does not answer for 2 s, its last figures are shown.
        wait_until(lambda: "covey_engine_stuck 1.0" in fetch(server.metrics_url))
        assert "covey_ready 0.0" in fetch(server.metrics_url)
        alive.cancel()
    server.popen.send_signal(signal.SIGTERM)
    code, log = server.end()  # however the engine hangs, it ends
    assert code == 1
    assert "a batch does not end; not ready and not alive until it does" in log


def test_it_stops_in_good_order_while_a_model_is_loaded(
    start: type[Process], front: str, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    by_call = front == "grpcio"  # one way to load on each front: neither knows of the other
    flags = ["--allow-management"] if by_call else ["--reload-interval-s", "0.05"]
    server = start("--models", str(tmp_path), "--log-level", "debug", *flags, command=("-c", IMPATIENT))
    with grpc.insecure_channel(server.target()) as channel:
        write_echo_model(tmp_path, "slow", hangs_at=0)  # for half a minute
        if by_call:
            load: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(LOAD)
            load.future(oi.RepositoryModelLoadRequest(model_name="slow").SerializeToString())
        server.wait_for_log("model slow version 1: loading")
        server.popen.send_signal(signal.SIGTERM)
        code, log = server.end()
    assert code == 0, log
    assert "the server ends without waiting any longer for: loading a model" in log


@BEFORE_IT_LISTENS
def test_check_prints_the_plan_and_the_curves(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path, version=3)
    process = start("--models", str(tmp_path), "--check")
    output, log = process.popen.communicate(timeout=60)
    assert process.popen.returncode == 0, log
    assert "  file    says that it is echo version 1\n" in output
    assert "device    cpu (CPUExecutionProvider)" in output
    assert "decoding  with at most " in output
    assert "model echo version 3 (the default)" in output
    assert "4 x 4 x 1 uint8, 10 classes" in output
    assert output.count("<- up to here images gather") == 1


@BEFORE_IT_LISTENS
def test_check_exits_with_3_where_a_version_is_refused(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    write_echo_model(tmp_path, "skewed", wrong_golden=True)
    process = start("--models", str(tmp_path), "--check")
    output, _ = process.popen.communicate(timeout=60)
    assert process.popen.returncode == 3
    assert "model echo version 1" in output
    assert "model skewed version 1 is REFUSED: golden set:" in output
    assert output.endswith("\nexit code 3: 1 refused. A server starts all the same, and serves 1 version\n")


@BEFORE_IT_LISTENS
def test_no_models_exits_with_3(start: type[Process], tmp_path: Path) -> None:
    code, log = start("--models", str(tmp_path)).end()
    assert code == 3
    assert "no model can be served from" in log
    assert "Traceback" not in log


@BEFORE_IT_LISTENS
def test_cuda_that_is_not_there_exits_with_4(start: type[Process], tmp_path: Path) -> None:
    code, log = start("--models", str(tmp_path), "--device", "cuda").end()
    assert code == 4
    assert "use --device cpu" in log


def test_a_port_in_use_exits_with_5(start: type[Process], tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("--grpc-port", "--metrics-port"):
            code, log = start("--models", str(tmp_path), flag, str(port)).end()
            assert code == 5
            assert f"cannot listen on 127.0.0.1:{port}" in log
            assert f"choose others with --host and {flag}" in log
            assert "Traceback" not in log


@pytest.mark.parametrize("kind", ["native"])
def test_a_wrong_setting_exits_with_2(start: type[Process], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "COVEY_WORKERS", "many")
    code, log = start().end()
    assert code == 2
    assert "COVEY_WORKERS='many': expected int" in log


def test_the_server_imports_neither_torch_nor_the_other_packages() -> None:
    code = "import sys, covey_server.app; print(sorted({name.split('.')[0] for name in sys.modules}))"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "'onnxruntime'" in modules
    for stranger in ("'torch'", "'covey_export'", "'covey'", "'onnx'", "'matplotlib'"):
        assert stranger not in modules


def test_the_log_as_json(start: type[Process], tmp_path: Path, write_echo_model: WriteModel) -> None:
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path), "--log-format", "json", "--access-log", "all")
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16)))
        classify(request.SerializeToString(), timeout=30, metadata=(("x-request-id", "r-1"),))
    server.popen.terminate()
    code, log = server.end()
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert [line["status"] for line in lines if line.get("request_id") == "r-1"] == ["OK"]


def test_a_log_that_nobody_reads_stops_nothing(
    start: type[Process], tmp_path: Path, write_echo_model: WriteModel
) -> None:
    """Its lines are dropped once the pipe is full, and the process still ends."""
    write_echo_model(tmp_path)
    server = start("--models", str(tmp_path), "--access-log", "all")
    request = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(16))).SerializeToString()
    with grpc.insecure_channel(server.target()) as channel:
        classify: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/covey.v1.Classifier/Classify")
        for _ in range(1000):  # about 200 KB, of which a pipe holds 64
            classify(request, timeout=30, metadata=(("x-request-id", "x" * 60),))
    server.popen.terminate()
    assert server.popen.wait(60) == 0
