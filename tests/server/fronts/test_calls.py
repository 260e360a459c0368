"""What a front makes of calls, with a service that answers when a test says so. No server is around it."""

from __future__ import annotations

import gc
import itertools
import queue
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from covey_server.calls.call import Call
from covey_server.calls.service import Service, Services
from covey_server.calls.status import Status
from covey_server.fronts import Front
from covey_server.fronts.grpcio import GrpcioFront
from covey_server.fronts.native import NativeFront
from covey_server.fronts.security import Security
from covey_server.fronts.security.tokens import Tokens

KINDS = {"native": NativeFront, "grpcio": GrpcioFront}
PATIENCE_S = 120.0


def front_with(kind: str, service: Service, security: Security | None = None) -> Front:
    services = Services((service,), begin=lambda inline: None, written=lambda count, caller: None)
    return KINDS[kind]("127.0.0.1:0", services, 2**20, 2**20, security or Security())


class Waiting:
    """A front with one method, and the calls that came by it."""

    def __init__(self, kind: str) -> None:
        self.calls: queue.Queue[Call] = queue.Queue()
        self.front = front_with(kind, Service("test.Waiting", {"Ask": self.calls.put}))
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("is_known", [True, False], ids=["known callers", "callers without a valid token"])
def test_callers_who_go_on_calling_do_not_keep_a_front_from_stopping(kind: str, is_known: bool, tmp_path: Path) -> None:
    refused = itertools.count(1)
    many_called = threading.Event()

    def refuse(call: Call) -> None:
        call.fail(Status(14, f"shutting down, {next(refused)}"))

    def call_again() -> str:
        """Goes on until the connection is closed, or for as many calls as nobody needs for stopping."""
        with grpc.insecure_channel(target) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Refusing/Ask")
            for number in range(5_000):
                with pytest.raises(grpc.RpcError) as caught:
                    ask(bytes(2_000), timeout=PATIENCE_S)
                code, details = caught.value.code(), caught.value.details() or ""
                if code is grpc.StatusCode.CANCELLED:  # by grpcio: not handed over yet
                    return "closed"
                if code is grpc.StatusCode.UNAVAILABLE and "shutting down," not in details:
                    return "closed"
                assert code is (grpc.StatusCode.UNAVAILABLE if is_known else grpc.StatusCode.UNAUTHENTICATED)
                if number == 50:
                    many_called.set()
        return "still refused"

    tokens = tmp_path / "tokens"
    tokens.write_text(32 * "a")
    tokens.chmod(0o600)
    security = Security() if is_known else Security(tokens=Tokens(tokens))
    front = front_with(kind, Service("test.Refusing", {"Ask": refuse}), security)
    front.start()
    target = f"127.0.0.1:{front.port}"
    with ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(call_again) for _ in range(4)]
        assert many_called.wait(PATIENCE_S)
        front.stop(PATIENCE_S)
        assert [caller.result() for caller in callers] == ["closed"] * 4


def test_no_grpcio_server_is_left_after_a_stop() -> None:
    """Else the process would end 2 s later where TLS was used."""
    front = front_with("grpcio", Service("test.None", {}))
    front.start()
    assert isinstance(front, GrpcioFront)
    server = weakref.ref(front._server)
    front.stop(PATIENCE_S)
    assert server() is None


def test_nothing_is_kept_of_calls_that_are_answered(waiting: Waiting) -> None:
    def kept() -> int:
        gc.collect()
        return sum(issubclass(type(each), Call) for each in gc.get_objects())

    for _ in range(200):
        asked = waiting.ask.future(b"")
        waiting.next().reply(b"answer")
        asked.result(timeout=PATIENCE_S)
    give_up_s = time.monotonic() + PATIENCE_S
    while kept() > 20:  # the last ones' answers may still be on their way
        assert time.monotonic() < give_up_s


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_fails_costs_its_own_call_alone_and_tells_nothing(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(call: Call) -> None:
        if call.payload == b"fails":
            raise RuntimeError("a secret path")
        call.reply(call.payload)

    front = front_with(kind, Service("test.Failing", {"Ask": ask}))
    front.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{front.port}") as channel:
            method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Failing/Ask")
            asked = [method.future(payload, timeout=PATIENCE_S) for payload in (b"one", b"fails", b"two")]
            assert asked[0].result() == b"one"
            assert asked[1].code() is grpc.StatusCode.INTERNAL
            assert "secret" not in (asked[1].details() or "")
            assert asked[2].result() == b"two"
    finally:
        front.stop(0)
    assert "a handler failed; this is a bug" in caplog.text
    assert "a secret path" in caplog.text
