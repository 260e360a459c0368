"""The load generator against real servers: both count, and what they counted must agree."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from bench.http2_frames import Request, length_prefixed
from bench.load_generator import LoadError, LoadGenerator, LoadResult, read_messages
from bench.processes import ROOT
from pygrpc_native import EVENT_CALL, NativeGrpcFront

METHOD = "/bench.Echo/Echo"
RESOURCE_EXHAUSTED = 8

# Called with a message and its number (from 0, by arrival); gives the answer, or None to fail the call.
Answer = Callable[[bytes, int], bytes | None]


class Arrivals:
    """What a server saw: every message, who sent it, and how many calls were open at once."""

    def __init__(self, answer: Answer) -> None:
        self.messages: list[bytes] = []
        self.peers: Counter[str] = Counter()
        self.deadlines_s: list[float | None] = []
        self.most_open = 0
        self._answer = answer
        self._open = 0
        self._lock = threading.Lock()

    def take(self, message: bytes, peer: str, deadline_s: float | None) -> bytes | None:
        with self._lock:
            number = len(self.messages)
            self.messages.append(message)
            self.peers[peer] += 1
            self.deadlines_s.append(deadline_s)
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        answer = self._answer(message, number)
        with self._lock:
            self._open -= 1
        return answer


class Target(NamedTuple):
    port: int
    arrivals: Arrivals


Serve = Callable[[Answer], AbstractContextManager[Target]]


@contextmanager
def serve_natively(answer: Answer, max_concurrent_calls: int = 1024) -> Iterator[Target]:
    arrivals = Arrivals(answer)
    front = NativeGrpcFront(
        "127.0.0.1:0", [(METHOD, False)], call_details=True, max_concurrent_streams=max_concurrent_calls
    )

    def handle(call_id: int, payload: bytes, peer: str, deadline_s: float | None) -> None:
        result = arrivals.take(payload, peer, deadline_s)
        if result is None:
            front.fail(call_id, RESOURCE_EXHAUSTED, "refused by the test")
        else:
            front.respond(call_id, result)

    def take() -> None:
        with ThreadPoolExecutor(16) as pool:
            while (events := front.recv_batch_details(64)) is not None:
                for kind, call_id, _, payload, _, details in events:
                    if kind == EVENT_CALL and payload is not None and details is not None:
                        pool.submit(handle, call_id, payload, details[1], details[2])

    front.start()
    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield Target(front.bound_port, arrivals)
    finally:
        front.close()
        thread.join()


@contextmanager
def serve_with_grpcio(answer: Answer, max_concurrent_calls: int = 1024) -> Iterator[Target]:
    arrivals = Arrivals(answer)

    def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
        result = arrivals.take(message, context.peer(), context.time_remaining())
        if result is None:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused by the test")
        return result

    options = [("grpc.max_concurrent_streams", max_concurrent_calls), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Echo": grpc.unary_unary_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Target(port, arrivals)
    finally:
        server.stop(None).wait()


@pytest.fixture(params=[serve_natively, serve_with_grpcio], ids=["native", "grpcio"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves with either of two real servers."""
    chosen: Serve = request.param
    return chosen


def put_load(
    port: int, messages: list[bytes], *, calls: int, in_flight: int, connections: int = 1, first_stream_id: int = 1
) -> LoadResult:
    requests = [Request(f"127.0.0.1:{port}", METHOD, message, timeout_s=20) for message in messages]
    with closing(LoadGenerator("127.0.0.1", port, requests, in_flight, connections, first_stream_id)) as generator:
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
    def fail_every_fifth(message: bytes, number: int) -> bytes | None:
        return None if number % 5 == 0 else message

    with serve(fail_every_fifth) as (port, arrivals):
        result = put_load(port, [b"message"], calls=400, in_flight=8)
    assert len(arrivals.messages) == 400
    assert (result.calls, result.failures) == (400, 80)


def test_an_unknown_method_is_a_failure(serve: Serve) -> None:
    with serve(echo) as (port, arrivals):
        requests = [Request("127.0.0.1", "/bench.Echo/Missing", b"")]
        with closing(LoadGenerator("127.0.0.1", port, requests)) as generator:
            result = generator.run(calls=4)
    assert (result.calls, result.failures, arrivals.messages) == (4, 4, [])


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 300])
def test_headers_of_any_length_are_understood(length: int) -> None:
    """Their lengths are integers of one, two or three bytes."""
    with serve_natively(echo) as (port, _):
        requests = [Request("a" * length, METHOD, b"message")]
        with closing(LoadGenerator("127.0.0.1", port, requests)) as generator:
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


def test_messages_are_split_at_their_lengths() -> None:
    messages = [b"", b"a", bytes(70_000)]
    assert read_messages(b"".join(map(length_prefixed, messages))) == messages
    with pytest.raises(ValueError, match="no message"):
        read_messages(b"")
    with pytest.raises(ValueError, match="message 1 is cut off at byte 9"):
        read_messages(length_prefixed(b"a") + b"\x00\x00\x00")


def test_percentiles_are_those_of_the_nearest_rank() -> None:
    result = LoadResult.of([us * 1000 for us in range(200, 0, -1)], failures=50, seconds=2.0, cpu_seconds=0.025)
    assert (result.latency_p50_us, result.latency_p90_us, result.latency_p99_us) == (100, 180, 198)
    assert result.latency_max_us == 200
    assert (result.calls, result.calls_per_second, result.generator_cpu_us_per_call) == (250, 125, 100)
