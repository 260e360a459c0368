"""The load generator against real servers: both count, and what they counted must agree."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from bench.load_generator import LoadGenerator, LoadResult
from bench.processes import ROOT
from tests.bench.serving import METHOD, RESOURCE_EXHAUSTED, Serve, serve_natively, serve_with_grpcio

from covey_load.pool import LoadError
from covey_load.wire.frames import Request, length_prefixed
from covey_load.wire.grpc_status import NAMES
from covey_load.wire.sockets import Endpoint


@pytest.fixture(params=[serve_natively, serve_with_grpcio], ids=["native", "grpcio"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves with either of two real servers."""
    chosen: Serve = request.param
    return chosen


def put_load(
    port: int, messages: list[bytes], *, calls: int, in_flight: int, connections: int = 1, first_stream_id: int = 1
) -> LoadResult:
    requests = [Request(f"127.0.0.1:{port}", METHOD, message, timeout_s=20) for message in messages]
    with closing(
        LoadGenerator(Endpoint("127.0.0.1", port), requests, in_flight, connections, first_stream_id)
    ) as generator:
        return generator.run(calls=calls)


def echo(message: bytes, number: int) -> bytes:
    return message


@pytest.mark.parametrize(("in_flight", "connections"), [(1, 1), (16, 1), (10, 3)])
def test_every_call_arrives_once_with_its_message(serve: Serve, in_flight: int, connections: int) -> None:
    messages = [bytes([index]) * (700 + index) for index in range(5)]
    with serve(echo) as (port, arrivals):
        result = put_load(port, messages, calls=503, in_flight=in_flight, connections=connections)
    assert (result.calls, result.failures) == (503, 0)
    assert Counter(arrivals.messages) == Counter(messages * 100 + messages[:3])
    assert len(arrivals.peers) == connections
    assert arrivals.most_open <= in_flight


def test_calls_carry_their_deadline(serve: Serve) -> None:
    with serve(echo) as (port, arrivals):
        put_load(port, [b"m"], calls=3, in_flight=1)
    assert all(deadline is not None and 0 < deadline <= 20 for deadline in arrivals.deadlines_s)


def test_failed_calls_are_counted_as_failures(serve: Serve) -> None:
    def fail_every_fifth(message: bytes, number: int) -> bytes | int:
        return RESOURCE_EXHAUSTED if number % 5 == 0 else message

    with serve(fail_every_fifth) as (port, arrivals):
        result = put_load(port, [b"message"], calls=400, in_flight=8)
    assert len(arrivals.messages) == 400
    assert (result.calls, result.failures) == (400, 80)


@pytest.mark.parametrize("code", range(1, 17))
def test_failures_are_told_apart_by_their_code_where_asked_for(serve: Serve, code: int) -> None:
    with serve(lambda message, number: code if number % 2 else message) as (port, _):
        requests = [Request(f"127.0.0.1:{port}", METHOD, b"message")]
        with closing(LoadGenerator(Endpoint("127.0.0.1", port), requests, statuses=True)) as generator:
            result = generator.run(calls=10)
    assert (result.failures, result.failures_by_status) == (5, {NAMES[code]: 5})


def test_answers_are_kept_with_the_number_of_their_request_where_asked_for(serve: Serve) -> None:
    with serve(lambda message, number: message * 3000) as (port, _):
        requests = [Request(f"127.0.0.1:{port}", METHOD, bytes([65 + number]), number=number) for number in range(9)]
        with closing(LoadGenerator(Endpoint("127.0.0.1", port), requests, in_flight=4, answers=True)) as generator:
            generator.run(calls=18)
    assert sorted(generator.answers) == sorted(
        (number, length_prefixed(bytes([65 + number]) * 3000)) for number in [*range(9)] * 2
    )


def test_apart_each_connection_has_a_message_of_its_own(serve: Serve) -> None:
    """Connections whose message is never answered until all others are, hold nobody up."""
    others = threading.Semaphore(0)

    def answer(message: bytes, number: int) -> bytes:
        if message == b"slow":
            for _ in range(20):
                assert others.acquire(timeout=30)
        else:
            others.release()
        return message

    with serve(answer) as (port, arrivals):
        requests = [Request(f"127.0.0.1:{port}", METHOD, message) for message in (b"slow", b"quick")]
        with closing(LoadGenerator(Endpoint("127.0.0.1", port), requests, 2, connections=2, apart=True)) as generator:
            result = generator.run(calls=63)
    assert result.calls_by_connection == [arrivals.messages.count(b"slow"), arrivals.messages.count(b"quick")]
    assert result.calls_by_connection[0] <= 4
    assert len(arrivals.peers) == 2


def test_an_unknown_method_is_a_failure(serve: Serve) -> None:
    with serve(echo) as (port, arrivals):
        requests = [Request("127.0.0.1", "/bench.Echo/Missing", b"")]
        with closing(LoadGenerator(Endpoint("127.0.0.1", port), requests)) as generator:
            result = generator.run(calls=4)
    assert (result.calls, result.failures, arrivals.messages) == (4, 4, [])


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 300])
def test_headers_of_any_length_are_understood(length: int) -> None:
    """Their lengths are integers of one, two or three bytes."""
    with serve_natively(echo) as (port, _):
        requests = [Request("a" * length, METHOD, b"message")]
        with closing(LoadGenerator(Endpoint("127.0.0.1", port), requests)) as generator:
            assert generator.run(calls=2).failures == 0


@pytest.mark.parametrize("answer_bytes", [1, 300_000])
def test_large_messages_pass_flow_control(serve: Serve, answer_bytes: int) -> None:
    """200 kB are above the frame limit and above what either server lets in at first."""
    messages = [bytes([index]) * 200_000 for index in (1, 2, 3)]
    with serve(lambda message, number: bytes(answer_bytes)) as (port, arrivals):
        result = put_load(port, messages, calls=60, in_flight=6)
    assert (result.calls, result.failures) == (60, 0)
    assert Counter(arrivals.messages) == Counter(messages * 20)


def test_small_messages_are_sent_beside_large_ones(serve: Serve) -> None:
    messages = [bytes(150_000), b"small"]
    with serve(echo) as (port, arrivals):
        result = put_load(port, messages, calls=40, in_flight=8)
    assert result.failures == 0
    assert Counter(arrivals.messages) == Counter(messages * 20)


def test_in_flight_calls_are_really_in_flight(serve: Serve) -> None:
    """No call is answered before eight are there, so fewer in flight would never end."""
    together = threading.Barrier(8, timeout=30)

    def answer(message: bytes, number: int) -> bytes:
        together.wait()
        return message

    with serve(answer) as (port, arrivals):
        result = put_load(port, [b"message"], calls=32, in_flight=8)
    assert (result.calls, result.failures, arrivals.most_open) == (32, 0, 8)


def test_latency_holds_the_time_in_the_server(serve: Serve) -> None:
    """What passed between two moments inside the server is part of the latency, and the latency part of the run."""
    held_us = 0.0

    def hold_the_first(message: bytes, number: int) -> bytes:
        nonlocal held_us
        if number == 0:
            start = time.perf_counter()
            threading.Event().wait(0.05)
            held_us = (time.perf_counter() - start) * 1e6
        return message

    with serve(hold_the_first) as (port, _):
        result = put_load(port, [b"message"], calls=20, in_flight=1)
    assert held_us < result.latency_max_us < result.seconds * 1e6
    assert result.latency_p50_us <= result.latency_p90_us <= result.latency_p99_us <= result.latency_max_us


def test_more_calls_than_the_server_allows_on_a_connection_are_refused_at_once() -> None:
    with serve_natively(echo, max_concurrent_calls=4) as (port, arrivals):
        with pytest.raises(LoadError, match="allows 4: use more connections"):
            put_load(port, [b"message"], calls=10, in_flight=8)
        result = put_load(port, [b"message"], calls=100, in_flight=8, connections=2)
    assert result.failures == 0
    assert len(arrivals.messages) == 100


def test_a_connection_out_of_stream_ids_is_replaced() -> None:
    with serve_natively(echo) as (port, arrivals):
        result = put_load(port, [b"message"], calls=20, in_flight=2, first_stream_id=2**31 - 9)
    assert (result.calls, result.failures) == (20, 0)
    assert sorted(arrivals.peers.values()) == [5, 15]


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.load_generator", "--method", METHOD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    messages.write_bytes(length_prefixed(b"one") + length_prefixed(b"two"))
    with serve_natively(echo) as (port, arrivals):
        finished = run_command(
            "--target", f"127.0.0.1:{port}", "--messages", str(messages), "--seconds", "0.2", "--in-flight", "4"
        )
    assert finished.returncode == 0, finished.stderr
    result = LoadResult(**json.loads(finished.stdout))
    assert result.calls == len(arrivals.messages) > 0
    assert result.seconds >= 0.2
    assert result.calls_per_second == pytest.approx(result.calls / result.seconds)
    assert set(arrivals.messages) == {b"one", b"two"}


def test_the_command_says_why_it_could_not(tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    messages.write_bytes(length_prefixed(b"one")[:-1])
    cut_off = run_command("--target", "127.0.0.1:1", "--messages", str(messages), "--calls", "1")
    assert (cut_off.returncode, cut_off.stderr) == (1, "load_generator: message 0 is cut off at byte 7\n")
    messages.write_bytes(length_prefixed(b"one"))
    nobody = run_command("--target", "127.0.0.1:1", "--messages", str(messages), "--calls", "1")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("load_generator: no gRPC connection to 127.0.0.1:1: ")
    endless = run_command("--target", "127.0.0.1:1", "--messages", str(messages))
    assert endless.returncode == 2
    assert "--seconds or --calls" in endless.stderr


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    result = LoadResult.of([us * 1000 for us in range(200, 0, -1)], {"INTERNAL": 50}, seconds=2.0, cpu_seconds=0.025)
    assert (result.latency_p50_us, result.latency_p90_us, result.latency_p99_us) == (100, 180, 198)
    assert result.latency_max_us == 200
    assert (result.calls, result.calls_per_second, result.generator_cpu_us_per_call) == (250, 125, 100)
