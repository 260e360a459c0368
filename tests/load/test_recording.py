"""Recordings against real servers: both count, and what they counted must agree."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from itertools import islice, repeat
from typing import Any

import numpy as np
import pytest
from tests.load.serving import METHOD, RESOURCE_EXHAUSTED, Serve, serve_natively, serve_with_grpcio

from covey_load.channel import Order
from covey_load.loops import ClosedLoop
from covey_load.plan import Arrival
from covey_load.pool import LoadError, Pool
from covey_load.processes import Generators
from covey_load.recording import Recording, record
from covey_load.remote import Remote
from covey_load.schedule import moments
from covey_load.wire.connection import Outcome
from covey_load.wire.frames import Request, length_prefixed
from covey_load.wire.grpc_status import DEADLINE_EXCEEDED, NAMES, OK
from covey_load.wire.http2 import GrpcConnection
from covey_load.wire.sockets import Endpoint


@pytest.fixture(params=[serve_natively, serve_with_grpcio], ids=["native", "grpcio"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """Serves with either of two real servers."""
    serve_calls: Serve = request.param
    return serve_calls


def put_load(
    port: int,
    messages: Sequence[bytes],
    *,
    processes: int = 1,
    method: str = METHOD,
    timeout_s: float = 20.0,
    **order: Any,
) -> Recording:
    remote = Remote(f"127.0.0.1:{port}", timeout_s * 1_000)
    load_order = Order(remote.endpoint, remote.requests(method, messages), timeout_s=timeout_s, **order)
    with Generators(processes) as generators:
        return record(generators, [load_order] * processes)


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


def test_failures_are_told_apart_by_their_code(serve: Serve) -> None:
    """Each code once, and an answer before each."""
    with serve(lambda message, number: number // 2 + 1 if number % 2 else message) as (port, _):
        result = put_load(port, [b"message"], calls=32)
    assert result.by_status() == {"OK": 16, **dict.fromkeys((NAMES[code] for code in range(1, 17)), 1)}


def test_answers_are_kept_with_the_number_of_their_request_where_asked_for(serve: Serve) -> None:
    messages = [bytes([65 + number]) for number in range(9)]
    with serve(lambda message, number: message * 3000) as (port, _):
        result = put_load(port, messages, calls=18, in_flight=4, keep_answers=True)
    assert sorted(result.answers) == sorted(
        (number, length_prefixed(bytes([65 + number]) * 3000)) for number in [*range(9)] * 2
    )


def test_apart_each_connection_has_a_message_of_its_own(serve: Serve) -> None:
    """Connections whose message is never answered until all others are, hold nobody up."""
    others_ended = threading.Semaphore(0)

    def answer(message: bytes, number: int) -> bytes:
        if message == b"slow":
            for _ in range(20):
                assert others_ended.acquire(timeout=30)
        else:
            others_ended.release()
        return message

    with serve(answer) as (port, arrivals):
        result = put_load(port, [b"slow", b"quick"], calls=63, in_flight=2, connections=2, apart=True)
    counts = np.bincount(result.numbers).tolist()
    assert counts == [arrivals.messages.count(b"slow"), arrivals.messages.count(b"quick")]
    assert counts[0] <= 4
    assert len(arrivals.peers) == 2


def test_several_processes_put_their_loads_on_together(serve: Serve) -> None:
    """No call is answered before four are there, so one process with two in flight would never end."""
    together = threading.Barrier(4, timeout=30)

    def answer(message: bytes, number: int) -> bytes:
        together.wait()
        return message

    with serve(answer) as (port, arrivals):
        result = put_load(port, [b"message"], processes=2, calls=10, in_flight=2)
    assert (result.calls, result.failures, len(arrivals.peers), len(result.ends)) == (20, 0, 2, 2)


def test_an_unknown_method_is_a_failure(serve: Serve) -> None:
    with serve(echo) as (port, arrivals):
        result = put_load(port, [b""], method="/bench.Echo/Missing", calls=4)
    assert (result.by_status(), arrivals.messages) == ({"UNIMPLEMENTED": 4}, [])


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 300])
def test_headers_of_any_length_are_understood(length: int) -> None:
    """Their lengths are integers of one, two or three bytes."""
    with serve_natively(echo) as (port, _), Generators(1) as generators:
        requests = [Request("a" * length, METHOD, b"message")]
        assert record(generators, [Order(Endpoint("127.0.0.1", port), requests, calls=2)]).failures == 0


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
    assert held_us < result.service_ms.max() * 1e3 < result.seconds * 1e6
    assert 0 < result.cpu_s < result.seconds


def test_more_calls_than_the_server_allows_on_a_connection_are_refused_at_once() -> None:
    with serve_natively(echo, max_concurrent_calls=4) as (port, arrivals):
        with pytest.raises(LoadError, match="allows 4: use more connections"):
            put_load(port, [b"message"], calls=10, in_flight=8)
        result = put_load(port, [b"message"], calls=100, in_flight=8, connections=2)
    assert result.failures == 0
    assert len(arrivals.messages) == 100


def test_a_connection_out_of_stream_ids_is_replaced() -> None:
    class Sink:
        def take(self, outcomes: list[Outcome]) -> None:
            outcomes_seen.extend(outcomes)

        def tick(self, now_ns: int) -> None:
            """Nothing is due."""

    outcomes_seen: list[Outcome] = []
    first_ids = iter([2**31 - 9, 1])
    with serve_natively(echo) as (port, arrivals):
        endpoint = Endpoint("127.0.0.1", port)
        with closing(Pool("connection", lambda: GrpcConnection(endpoint, next(first_ids)), 1)) as pool:
            request = Request(endpoint.authority, METHOD, b"message")
            ClosedLoop(pool, Sink(), 20.0, 2, [repeat(request)], calls=20).run(time.perf_counter_ns())
    assert [outcome.status for outcome in outcomes_seen] == [OK] * 20
    assert sorted(arrivals.peers.values()) == [5, 15]


def test_an_open_loop_sends_each_message_in_turn_at_the_moments_of_its_schedule() -> None:
    def answer(message: bytes, number: int) -> bytes | int:
        return RESOURCE_EXHAUSTED if message == b"refused" else message

    messages = [b"refused", b"one", b"two"]
    rates = (500.0, 500.0)
    order: dict[str, Any] = {"rates_per_s": rates, "seconds": 60.0, "calls": 250, "seed": 3, "round_us": 500}
    with serve_natively(answer) as (port, arrivals):
        result = put_load(port, messages, keep_answers=True, **order)
    planned = list(islice(moments(Arrival.POISSON, rates, 0.0, 60.0, seed=3), 250))
    assert sorted(result.due_ns - result.begin_ns) == planned
    assert Counter(arrivals.messages) == Counter(messages[place % 3] for place in range(len(planned)))
    assert result.by_status()["RESOURCE_EXHAUSTED"] == arrivals.messages.count(b"refused")
    assert Counter(number for number, _ in result.answers) == {
        1: arrivals.messages.count(b"one"),
        2: arrivals.messages.count(b"two"),
    }
    assert (result.lag_ms >= 0).all()


def test_calls_without_an_answer_are_cancelled_at_their_deadline_and_others_go_on() -> None:
    released = threading.Event()

    def hold(message: bytes, number: int) -> bytes:
        if message == b"held":
            released.wait(30)
        return message

    with serve_natively(hold) as (port, _):
        result = put_load(port, [b"held", b"quick"], rates_per_s=(400.0, 400.0), seconds=10.0, calls=8, timeout_s=2.0)
        released.set()
    is_cancelled = result.statuses == DEADLINE_EXCEEDED
    assert sorted(result.numbers[is_cancelled]) == [0] * 4
    assert ((result.ended_ns - result.due_ns)[is_cancelled] >= 2_000_000_000).all()


def test_a_load_that_is_stopped_ends_with_what_was_recorded_until_then() -> None:
    with serve_natively(echo) as (port, arrivals), Generators(1) as generators:
        remote = Remote(f"127.0.0.1:{port}", 20_000)
        order = Order(remote.endpoint, remote.requests(METHOD, [b"message"]), rates_per_s=(200.0, 200.0), seconds=600)
        result = record(generators, [order], lambda begin_ns: generators.stop())
    assert result.calls == len(arrivals.messages)
    assert result.seconds < 60


def test_nobody_there_is_an_error() -> None:
    with pytest.raises(LoadError, match=r"no gRPC connection to 127.0.0.1:1: "):
        put_load(1, [b"message"], calls=1)
