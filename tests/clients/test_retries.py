"""What is tried again and what is not: the rule by itself, and calls to servers that fail by a script."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest

import covey
from covey import session
from covey.addresses import Addresses
from covey.errors import HandshakeFailed
from covey.retries import Retries

from .conftest import fake_server

if TYPE_CHECKING:
    from .conftest import ScriptedServer


def _overloaded(hint_ms: int | None) -> covey.Overloaded:
    error = covey.Overloaded("full")
    error.retry_after_ms = hint_ms
    return error


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 1.0), (1.0, 1.5)])
def test_pauses_double_and_differ_by_chance(chance: float, factor: float) -> None:
    retries = Retries(9, lambda: chance)
    pauses = [retries.pause_s(covey.Unavailable("gone"), attempt, 60.0) for attempt in range(1, 10)]
    expected = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert pauses == pytest.approx([pause * factor for pause in expected])


def test_the_pause_after_overload_is_the_servers_hint_or_a_little_more() -> None:
    assert Retries(4, lambda: 0.0).pause_s(_overloaded(300), 3, 60.0) == pytest.approx(0.3)
    assert Retries(4, lambda: 1.0).pause_s(_overloaded(300), 3, 60.0) == pytest.approx(0.45)


def test_only_what_may_help_is_tried_again() -> None:
    retries = Retries(4)
    never = (covey.InvalidRequest, covey.UnknownModel, covey.DeadlineExceeded, covey.ServerError)
    assert [retries.pause_s(kind("no"), 1, 60.0) for kind in never] == [None] * 4
    assert retries.pause_s(_overloaded(None), 1, 60.0) is None
    assert retries.pause_s(covey.Unavailable("gone"), 5, 60.0) is None, "the fifth attempt was the last"


def test_a_handshake_that_failed_is_tried_with_another_server_alone() -> None:
    error = HandshakeFailed("no certificate")
    assert Retries(4).pause_s(error, 1, 60.0) is None
    assert Retries(4).pause_s(error, 1, 60.0, elsewhere=True) == 0.0


def test_a_pause_that_would_outlast_the_deadline_is_not_made() -> None:
    retries = Retries(4, lambda: 0.0)
    assert retries.pause_s(_overloaded(300), 1, 0.29) is None
    assert retries.pause_s(_overloaded(300), 1, 0.31) is not None


def test_another_server_is_asked_at_once() -> None:
    assert Retries(4).pause_s(covey.Unavailable("gone"), 1, 60.0, elsewhere=True) == 0.0
    assert Retries(4).pause_s(_overloaded(300), 1, 60.0, elsewhere=True) == 0.0


def test_the_budget_ends_and_is_earned_again_by_answers() -> None:
    retries = Retries(4)
    granted = 0
    while retries.pause_s(covey.Unavailable("gone"), 1, 60.0) is not None:
        granted += 1
    assert granted == 500
    for _ in range(11):  # a fifth of a retry each, and 0.2 is no exact float
        retries.answered()
    assert [retries.pause_s(covey.Unavailable("gone"), 1, 60.0) is None for _ in range(3)] == [False, False, True]


def turn(addresses: Addresses) -> int:
    """Where a call goes that ends at once."""
    place = addresses.take()
    addresses.release(place)
    return place


def test_addresses_take_turns_and_those_that_failed_are_left_out_for_longer_each_time() -> None:
    now_s = 0.0
    addresses = Addresses(3, lambda: now_s)
    assert [turn(addresses) for _ in range(4)] == [0, 1, 2, 0]
    addresses.failed(1)
    assert [turn(addresses) for _ in range(4)] == [2, 0, 2, 0]
    now_s = 0.15
    assert [turn(addresses) for _ in range(4)] == [1, 2, 0, 2], "asked once more, then left out for twice as long"
    now_s = 0.30
    assert 1 not in [turn(addresses) for _ in range(4)]
    now_s = 0.36
    assert 1 in [turn(addresses) for _ in range(3)]
    addresses.answered(1)
    assert sorted(turn(addresses) for _ in range(3)) == [0, 1, 2]


def test_where_all_addresses_rest_one_is_asked_all_the_same_rather_one_not_tried() -> None:
    addresses = Addresses(2, lambda: 0.0)
    addresses.failed(0)
    addresses.failed(1)
    assert addresses.take({0}) == 1
    assert addresses.take({1}) == 0


def test_the_address_with_the_fewest_calls_is_next() -> None:
    addresses = Addresses(3, lambda: 0.0)
    assert [addresses.take() for _ in range(5)] == [0, 1, 2, 0, 1]
    addresses.release(1)
    addresses.release(1)
    assert [addresses.take() for _ in range(3)] == [1, 2, 1], "0 has two calls, 2 has one, 1 has none"


def test_a_server_that_takes_its_time_gets_no_more_than_its_share() -> None:
    held, release = threading.Event(), threading.Event()

    def hold(image: bytes) -> str:
        held.set()
        assert release.wait(60)
        return "cat"

    with fake_server("grpc", answer=hold) as slow, fake_server("grpc") as other:
        with covey.Client([slow.target, other.target]) as client, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.classify, b"cat")
            assert held.wait(60)
            for _ in range(6):
                client.classify(b"cat")
            release.set()
            waiting.result()
        assert (slow.requests, other.requests) == (1, 6)


def test_a_server_that_fails_is_left_out_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers faster than the others, and so has the fewest calls: it would get nearly all."""
    monkeypatch.setattr(session, "Addresses", partial(Addresses, clock_s=lambda: 0.0))
    with fake_server("grpc") as broken, fake_server("grpc") as other:
        broken.fail("INTERNAL", "broken", times=100)
        with covey.Client([broken.target, other.target]) as client:
            with pytest.raises(covey.ServerError):
                client.classify(b"cat")
            for _ in range(6):
                client.classify(b"cat")
        assert other.requests == 6


def test_a_server_that_does_not_know_a_method_is_still_asked_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Addresses", partial(Addresses, clock_s=lambda: 0.0))
    with fake_server("grpc") as older, fake_server("grpc") as other:
        with covey.Client([older.target, other.target]) as client:
            with pytest.raises(covey.ServerError, match="does not know this call"):
                client.choose("promote", "fake", 1)
            for _ in range(4):
                client.classify(b"cat")
        assert (older.requests, other.requests) == (2, 2)


@pytest.mark.parametrize(
    ("code", "hint"), [(grpc.StatusCode.UNAVAILABLE, None), (grpc.StatusCode.RESOURCE_EXHAUSTED, "20")]
)
def test_a_call_succeeds_once_the_server_takes_it(
    server: ScriptedServer, client: covey.Client, code: grpc.StatusCode, hint: str | None
) -> None:
    server.fail(code, "not now", times=2, retry_after=hint)
    began_s = time.monotonic()
    assert client.classify(b"cat").label == "cat"
    assert len(server.requests) == 3
    assert time.monotonic() - began_s >= 0.04, "it waits, twice as long as it was told or more"


def test_the_last_error_tells_the_hint_and_how_often_it_was_tried(server: ScriptedServer, client: covey.Client) -> None:
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after="7")
    with pytest.raises(covey.Overloaded, match=r"full; it expects room in 7 ms \(tried 5 times\)$") as info:
        client.classify(b"cat")
    assert info.value.retry_after_ms == 7
    assert len(server.requests) == 5


@pytest.mark.parametrize("hint", [None, "soon", "-4", "1.5", ""])
def test_without_a_hint_that_is_a_number_overload_is_told_at_once(
    server: ScriptedServer, client: covey.Client, hint: str | None
) -> None:
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after=hint)
    with pytest.raises(covey.Overloaded, match=r"takes no more: full$") as info:
        client.classify(b"cat")
    assert info.value.retry_after_ms is None
    assert len(server.requests) == 1


def test_a_hint_beyond_the_deadline_is_told_at_once(server: ScriptedServer, client: covey.Client) -> None:
    server.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry_after="60000")
    with pytest.raises(covey.Overloaded, match=r"it expects room in 60000 ms$"):
        client.classify(b"cat", deadline_ms=5_000)
    assert len(server.requests) == 1


def test_retries_can_be_turned_off(server: ScriptedServer) -> None:
    server.fail(grpc.StatusCode.UNAVAILABLE, "gone")
    with covey.Client(server.target, retries=0) as client, pytest.raises(covey.Unavailable, match="gone"):
        client.classify(b"cat")
    assert len(server.requests) == 1
    for retries in (-1, True, 2.0):
        with pytest.raises(covey.InvalidInput, match=f"retries must be a whole number, 0 for none, not {retries}"):
            covey.Client(retries=retries)  # type: ignore[arg-type]


def test_a_new_client_does_not_wait_for_another_ones_back_off(server: ScriptedServer) -> None:
    with covey.Client(server.target, retries=0) as before:
        before.classify(b"cat")
        server.stop()
        for _ in range(2):  # the second call finds the connection refused
            with pytest.raises(covey.Unavailable):
                before.classify(b"cat")
        server.start_again()
        with covey.Client(server.target, retries=0) as new:
            assert new.classify(b"cat").label == "cat"


def test_nor_does_a_new_client_of_asyncio(server: ScriptedServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(server.target, retries=0) as before:
            await before.classify(b"cat")
            server.stop()
            for _ in range(2):
                with pytest.raises(covey.Unavailable):
                    await before.classify(b"cat")
            server.start_again()
            async with covey.AsyncClient(server.target, retries=0) as new:
                assert (await new.classify(b"cat")).label == "cat"

    asyncio.run(run())
