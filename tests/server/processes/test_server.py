"""A server of two processes, as callers and operators see it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from bench.processes import ROOT, Server, covey_server, fetch, own_process
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import WriteModel
from tests.end_to_end.serving import connected_to_each_process
from tests.waiting import wait_until

from covey_load.observation import family, find_listener
from covey_load.wire.sockets import Endpoint
from covey_proto.v1 import classifier_pb2 as pb
from covey_server.processes import merging

CLASSIFY = "/covey.v1.Classifier/Classify"
REQUEST = pb.ClassifyRequest(pixels=pb.Pixels(data=bytes(range(16))), top_k=1).SerializeToString()
TWO = ("--processes", "2")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


Start = Callable[..., Server]


@pytest.fixture
def start(request: pytest.FixtureRequest, stack: ExitStack, tmp_path: Path, write_echo_model: WriteModel) -> Start:
    """Starts two processes on the native front, or on that which the test is given; their models are in
    `tmp_path`/models, their log is `tmp_path`/log."""
    front = getattr(request, "param", "native")

    def started(*flags: str) -> Server:
        if not (tmp_path / "models").exists():
            write_echo_model(tmp_path / "models")
        return stack.enter_context(covey_server(tmp_path / "models", front, tmp_path / "log", (*TWO, *flags)))

    return started


# Only what a front has a part in: who listens and who counts.
ON_BOTH_FRONTS = pytest.mark.parametrize("start", ["native", "grpcio"], indirect=True)


@pytest.fixture
def server(start: Start) -> Server:
    return start()


@pytest.fixture
def channels(stack: ExitStack, server: Server) -> dict[int, grpc.Channel]:
    """One to each process, by its id."""
    return stack.enter_context(connected_to_each_process(server))


def classify(channel: grpc.Channel, request: bytes = REQUEST, token: str = "") -> bytes:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CLASSIFY)
    return call(request, timeout=20, metadata=(("authorization", f"Bearer {token}"),) if token else None)


def samples(server: Server) -> dict[str, float]:
    """The samples of echo version 1 and of the whole server, by name; of requests those that are OK."""
    assert server.metrics_url is not None
    return read(fetch(server.metrics_url))


def read(page: str) -> dict[str, float]:
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.labels.keys() <= {"model", "version", "code", "protocol"}
        and sample.labels.get("model", "echo") == "echo"
        and sample.labels.get("code", "OK") == "OK"
        and sample.labels.get("protocol", "grpc") == "grpc"
    }


def ready(server: Server) -> bool:
    assert server.metrics_url is not None
    try:
        return fetch(server.metrics_url.replace("/metrics", "/readyz")) == "ready\n"
    except OSError:
        return False


def http_address(log: Path) -> str:
    found = re.search(r"HTTP on (http://\S+), ", log.read_text())
    assert found is not None
    return found[1]


def test_the_log_says_what_each_copy_of_the_models_took(server: Server, tmp_path: Path) -> None:
    """As measured: the file of this model is far below 1 MiB, and is not what memory it needs."""
    said = r"ready: 2 processes \(\d+, \d+\), each with a copy of its own of 1 model\(s\), which took \d+ MiB to load\n"
    wait_until(lambda: re.search(said, (tmp_path / "log").read_text()) is not None)


@ON_BOTH_FRONTS
def test_a_killed_process_is_replaced_and_no_other_callers_call_fails(
    server: Server, channels: dict[int, grpc.Channel]
) -> None:
    (victim, of_victim), (_, of_other) = channels.items()
    failures: list[str] = []
    replaced = threading.Event()
    answers = [0] * 3

    def call_until_replaced(caller: int) -> None:
        while not replaced.is_set():
            try:
                classify(of_other)
            except grpc.RpcError as error:
                failures.append(str(error))
                return
            answers[caller] += 1

    callers = [threading.Thread(target=call_until_replaced, args=(number,)) for number in range(3)]
    for each in callers:
        each.start()
    counted: list[float] = []

    def is_replaced() -> bool:
        found = samples(server)
        counted.append(found["covey_requests_total"])
        return (found["covey_processes"], found["covey_processes_replaced_total"]) == (2, 1)

    def wait_for_answers() -> None:
        seen = list(answers)
        wait_until(lambda: bool(failures) or all(now > 10 + then for now, then in zip(answers, seen, strict=True)))

    try:
        wait_for_answers()
        counted.append(samples(server)["covey_requests_total"])
        os.kill(victim, signal.SIGKILL)
        wait_until(is_replaced)
        wait_for_answers()
    finally:
        replaced.set()
        for each in callers:
            each.join()
    assert failures == []
    assert counted == sorted(counted)  # counters never fall
    classify(of_victim)  # it connects again
    assert ready(server)


@ON_BOTH_FRONTS
def test_one_scrape_has_the_sum_of_all(server: Server, channels: dict[int, grpc.Channel], tmp_path: Path) -> None:
    for channel, count in zip(channels.values(), (3, 5), strict=True):
        for _ in range(count):
            classify(channel)
    found = samples(server)
    counts = ("covey_requests_total", "covey_images_total", "covey_request_seconds_count", "covey_batch_size_sum")
    assert [found[name] for name in counts] == [8, 8, 8, 8]
    assert (found["covey_ready"], found["covey_processes"], found["covey_calls_in_flight"]) == (1, 2, 0)
    assert found["covey_connections_open"] >= 2
    listener = find_listener(Endpoint("127.0.0.1", int(server.target.rpartition(":")[2])))
    assert listener is not None
    assert listener.pid == server.pid
    resident = sum(each.memory_info().rss for each in family(server.pid))
    assert found["process_resident_memory_bytes"] == pytest.approx(resident, rel=0.2)
    page = fetch(f"{http_address(tmp_path / 'log')}/metrics")
    for name in (*counts, "covey_processes"):
        assert read(page)[name] == found[name]
    gauges = {each.name for each in text_string_to_metric_families(page) if each.type == "gauge"} - {"covey_processes"}
    assert gauges <= merging.ADDED | merging.LARGEST | merging.SMALLEST, "decide how processes' gauges become one"


def test_one_process_can_be_replaced_in_good_order_and_none_of_its_counts_is_lost(
    server: Server, channels: dict[int, grpc.Channel], tmp_path: Path
) -> None:
    victim, channel = next(iter(channels.items()))
    before = samples(server)["covey_requests_total"]
    for _ in range(7):
        classify(channel)
    os.kill(victim, signal.SIGTERM)
    log = tmp_path / "log"
    wait_until(lambda: f"({victim}) ended with exit code 0" in log.read_text())  # unseen by any scrape
    assert samples(server)["covey_requests_total"] == before + 7
    wait_until(lambda: samples(server)["covey_processes"] == 2)
    classify(channel)
    found = samples(server)
    assert (found["covey_requests_total"], found["covey_processes_replaced_total"]) == (before + 8, 1)


def test_a_revoked_token_is_refused_by_all(start: Start, tmp_path: Path) -> None:
    old, new = "old-token.0123456789", "new-token.0123456789"
    (tmp_path / "tokens").write_text(f"{old}\n")
    server = start("--auth-token-file", str(tmp_path / "tokens"))

    def call(token: str) -> str:
        with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                classify(channel, token=token)
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

    assert {call(old) for _ in range(8)} == {"OK"}
    (tmp_path / "tokens").write_text(f"{new}\n")
    wait_until(lambda: (tmp_path / "log").read_text().count("have changed: 1 are valid now") == 2)
    wait_until(lambda: {call(new) for _ in range(8)} == {"OK"})
    assert {call(old) for _ in range(8)} == {"UNAUTHENTICATED"}


def test_all_processes_tell_of_a_batch_that_does_not_end(
    start: Start, stack: ExitStack, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path / "models", hangs_at=77)
    server = start("--engine-timeout-s", "0.3", "--drain-timeout-s", "0.5")
    channels = list(stack.enter_context(connected_to_each_process(server)).values())
    with pytest.raises(grpc.RpcError, match=r"within 0\.3 s"):
        classify(channels[0], pb.ClassifyRequest(pixels=pb.Pixels(data=bytes([77] * 16))).SerializeToString())

    def states(channel: grpc.Channel) -> list[int]:
        check = health_pb2_grpc.HealthStub(channel).Check
        return [check(health_pb2.HealthCheckRequest(service=name), timeout=20).status for name in ("", "live")]

    for channel in channels:
        wait_until(lambda channel=channel: states(channel) == [2, 2])  # type: ignore[misc]  # NOT_SERVING
    assert not ready(server)
    classify(channels[1])  # the other one still works


def test_it_is_ready_once_all_processes_are(stack: ExitStack, tmp_path: Path, write_echo_model: WriteModel) -> None:
    # Its golden check meets its largest pixel and takes seconds: so long the second process is not ready.
    write_echo_model(tmp_path, hangs_at=199, hang_turns=2_000_000)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "covey_server", "--models", str(tmp_path), *TWO]
    process = stack.enter_context(own_process([*command, "--grpc-port", "0", "--metrics-port", "0"], log))
    wait_until(lambda: "process 1: ready" in log.read_text())
    http, metrics = http_address(log), re.findall(r"metrics on (\S+)/metrics", log.read_text())[0]
    for probe in (f"{http}/readyz", f"{metrics}/readyz"):
        with pytest.raises(OSError, match="503"):
            fetch(probe)
    assert "covey_ready 0.0" in fetch(f"{metrics}/metrics")
    assert fetch(f"{http}/healthz") == fetch(f"{metrics}/healthz") == "live\n"
    assert process.stdout is not None
    assert process.stdout.readline().startswith("covey-server ready grpc=")
    wait_until(lambda: "covey_ready 1.0" in fetch(f"{metrics}/metrics"))
    assert fetch(f"{http}/readyz") == fetch(f"{metrics}/readyz") == "ready\n"


def test_a_process_that_hangs_as_a_whole_is_replaced(
    stack: ExitStack, tmp_path: Path, write_echo_model: WriteModel
) -> None:
    write_echo_model(tmp_path)
    log = tmp_path / "log"
    impatient = (
        "import covey_server.__main__, covey_server.processes.supervisor as supervisor\n"
        "supervisor._LOOK_S = 0.2\nraise SystemExit(covey_server.__main__.main())"
    )
    command = [sys.executable, "-c", impatient, "--models", str(tmp_path), *TWO]
    process = stack.enter_context(own_process([*command, "--grpc-port", "0", "--metrics-port", "0"], log))
    assert process.stdout is not None
    metrics = re.findall(r"metrics=(\S+)", process.stdout.readline())[0]
    victim = family(process.pid)[1]
    victim.suspend()
    wait_until(lambda: read(fetch(f"http://{metrics}/metrics"))["covey_processes_replaced_total"] == 1)
    assert f"({victim.pid}) has not answered for 1.2 s; it is killed" in log.read_text()


def test_it_gives_up_where_no_process_can_start_any_more(server: Server, tmp_path: Path) -> None:
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    for each in family(server.pid)[1:]:
        each.kill()
    wait_until(lambda: not server.is_running)
    log = (tmp_path / "log").read_text()
    assert server._process.returncode == 3
    assert "cannot be read" in log
    assert "giving up: no process serves, and 5 starts in a row have failed" in log


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_nothing_is_left_of_it(stack: ExitStack, tmp_path: Path, write_echo_model: WriteModel, how: str) -> None:
    write_echo_model(tmp_path)
    command = [sys.executable, "-m", "covey_server", "--models", str(tmp_path), *TWO]
    process = subprocess.Popen(
        [*command, "--grpc-port", "0", "--metrics-port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("covey-server ready")
        members = family(process.pid)[1:]
        assert len(members) == 2
        os.killpg(process.pid, signal.SIGKILL if how == "kill -9" else signal.SIGINT)
        gone, alive = psutil.wait_procs(members, timeout=30)
        assert (len(gone), alive) == (2, [])
        _, log = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert log.count("stopped after") == 2  # in good order
    assert process.returncode == (-signal.SIGKILL if how == "kill -9" else 0)
    assert "Traceback" not in log


def test_a_second_server_does_not_get_the_ports(server: Server, tmp_path: Path) -> None:
    port = server.target.rpartition(":")[2]
    for processes in ("1", "2"):
        command = [sys.executable, "-m", "covey_server", "--models", str(tmp_path / "models"), "--no-http"]
        command += ["--processes", processes, "--grpc-port", port, "--metrics-port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 5, done.stderr
        assert f"gRPC cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "Taken too" not in done.stderr


def test_all_ports_of_another_server_are_named_at_once(server: Server, tmp_path: Path) -> None:
    port = server.target.rpartition(":")[2]
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as metrics:
        taken = [each.getsockname()[1] for each in (http, metrics)]
        for processes in ("1", "2"):
            command = [sys.executable, "-m", "covey_server", "--models", str(tmp_path / "models")]
            command += ["--processes", processes, "--grpc-port", port]
            command += ["--http-port", str(taken[0]), "--metrics-port", str(taken[1])]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 5, done.stderr
            assert done.stderr.endswith(
                f"--grpc-port. Taken too: 127.0.0.1:{taken[0]} (HTTP: --http-port) and "
                f"127.0.0.1:{taken[1]} (metrics: --metrics-port)\n"
            )


def test_the_parent_is_small() -> None:
    code = "import sys, covey_server.__main__, covey_server.processes.supervisor; print(sorted(sys.modules))"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert "'prometheus_client'" in modules
    for large in ("'onnxruntime'", "'numpy'", "'grpc'", "'PIL'", "'google.protobuf'"):
        assert large not in modules
