"""What a front makes of calls, with a service that answers when a test says so. No server is around it."""

from __future__ import annotations

import gc
import queue
import time
from collections.abc import Iterator

import grpc
import pytest

from covey_server.calls.call import Call, Service
from covey_server.fronts import Front
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native import NativeFront
from covey_server.fronts.security import Security

KINDS: dict[str, type[Front]] = {"native": NativeFront, "grpcio": GrpcioFront}
PATIENCE_S = 30.0


class Waiting:
    """A front with one method, and the calls that came by it."""

    def __init__(self, kind: str) -> None:
        self.calls: queue.Queue[Call] = queue.Queue()
        service = Service("test.Waiting", {"Ask": self.calls.put}, lambda inline: None)
        self.front: Front = KINDS[kind]("127.0.0.1:0", [service], [], 2**20, 2**20, Security())  # type: ignore[call-arg]
        self.front.start()
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.front.port}")
        self.ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary("/test.Waiting/Ask")

    def next(self) -> Call:
        return self.calls.get(timeout=PATIENCE_S)


@pytest.fixture(params=KINDS)
def waiting(request: pytest.FixtureRequest) -> Iterator[Waiting]:
    waiting = Waiting(request.param)
    try:
        yield waiting
    finally:
        waiting.channel.close()
        waiting.front.stop(0)


def test_a_call_whose_caller_goes_away_is_marked_so_and_no_other(waiting: Waiting) -> None:
    gone, stays = waiting.ask.future(b"gone"), waiting.ask.future(b"stays")
    calls = {call.payload: call for call in (waiting.next(), waiting.next())}
    assert not any(call.cancelled for call in calls.values())
    gone.cancel()
    give_up_s = time.monotonic() + PATIENCE_S
    while not calls[b"gone"].cancelled:
        assert time.monotonic() < give_up_s
        time.sleep(0.01)  # nothing tells when
    assert not calls[b"stays"].cancelled
    calls[b"gone"].reply(b"late")  # to nobody
    calls[b"stays"].reply(b"answer")
    assert stays.result(timeout=PATIENCE_S) == b"answer"


def test_a_call_has_its_callers_deadline(waiting: Waiting) -> None:
    before_ns = time.monotonic_ns()
    asked = [waiting.ask.future(b"", timeout=500)]
    call = waiting.next()
    assert call.deadline_ns is not None
    assert before_ns <= call.arrived_ns <= time.monotonic_ns()
    assert before_ns + 400e9 < call.deadline_ns <= time.monotonic_ns() + 501e9
    asked.append(waiting.ask.future(b""))
    assert waiting.next().deadline_ns is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_that_was_given_is_on_the_wire_before_a_front_has_stopped(kind: str) -> None:
    waiting = Waiting(kind)
    asked = [waiting.ask.future(b"") for _ in range(500)]
    calls = [waiting.next() for _ in asked]
    for call in calls:
        call.reply(bytes(60_000))
    waiting.front.stop(PATIENCE_S)
    assert [len(each.result(timeout=PATIENCE_S)) for each in asked] == [60_000] * 500
    waiting.channel.close()


def test_nothing_is_kept_of_calls_that_are_answered(waiting: Waiting) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, Call) for each in gc.get_objects())

    for _ in range(200):
        asked = waiting.ask.future(b"")
        waiting.next().reply(b"answer")
        asked.result(timeout=PATIENCE_S)
    give_up_s = time.monotonic() + PATIENCE_S
    while kept() > 20:  # the last ones' answers may still be on their way
        assert time.monotonic() < give_up_s
