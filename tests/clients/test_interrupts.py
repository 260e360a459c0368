"""coalesce=True: a call that is interrupted or cancelled takes itself away, and never the calls it travels with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

import covey
from covey import packing
from covey.coalescing import ThreadCoalescer, ThreadItem
from covey.connection import Deadline
from covey.inputs import EncodedPart
from covey.messages import ClassifyOptions, not_sent

if TYPE_CHECKING:
    from .conftest import ScriptedServer

KindT = TypeVar("KindT", bound=ThreadItem)

ANSWER = not_sent(covey.InvalidInput("answered"))


class LateItem(ThreadItem):
    """Of a thread that the machine does not let go on before `goes_on` is set, though it was woken."""

    __slots__ = ("goes_on",)
    goes_on: threading.Event

    def wait(self) -> None:
        super().wait()
        assert self.goes_on.wait(timeout=30)


class ExpiredItem(LateItem):
    """Of a thread whose deadline has passed when `goes_on` is set."""

    __slots__ = ()

    def wait(self) -> None:
        assert self.goes_on.wait(timeout=30)


class InterruptedItem(ThreadItem):
    """Of a thread that is interrupted just as it is woken."""

    __slots__ = ()

    def wait(self) -> None:
        super().wait()
        raise KeyboardInterrupt


class InterruptedEarlyItem(LateItem):
    """Of a thread that is interrupted, when `goes_on` is set, before it is woken."""

    __slots__ = ()

    def wait(self) -> None:
        assert self.goes_on.wait(timeout=30)
        raise KeyboardInterrupt


def _item(name: str, kind: type[KindT], deadline_ms: float = 60_000, model: str = "") -> KindT:
    return kind(EncodedPart((0,), (name,), (b"x",)), ClassifyOptions(model), Deadline(deadline_ms))


def _leader() -> ThreadItem:
    """Sends for all that gathered with it: its deadline is the last."""
    return _item("leader", ThreadItem, deadline_ms=600_000)


class Sending:
    """What stands for the network: requests wait until they are let through, in turn; some are interrupted."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.interrupts: Callable[[list[str]], bool] = lambda names: False
        self.arrived = threading.Semaphore(0)
        self.lets_through = threading.Semaphore(0)

    def __call__(self, items: Sequence[ThreadItem], deadline: Deadline) -> None:
        names = [item.part.names[0] for item in items if isinstance(item.part, EncodedPart)]
        self.requests.append(names)
        self.arrived.release()
        assert self.lets_through.acquire(timeout=60)
        if self.interrupts(names):
            raise KeyboardInterrupt
        for item in items:
            item.settle(ANSWER)


@contextmanager
def _full(sending: Sending) -> Iterator[Callable[[str | ThreadItem], Future[None]]]:
    """A coalescer with all its requests in flight. What is called with a name gathers; calls gather in order.

    In the end all have been let through, and every place is free again.
    """
    coalescer = ThreadCoalescer(sending)
    with ThreadPoolExecutor(16) as pool:

        def call(one: str | ThreadItem) -> Future[None]:
            waiting = len(coalescer._waiting)
            future = pool.submit(coalescer.settle, _item(one, ThreadItem) if isinstance(one, str) else one)
            while len(coalescer._waiting) == waiting:  # until it has taken its place in the row
                assert not future.done()
            return future

        first = [pool.submit(coalescer.settle, _item("first", ThreadItem)) for _ in range(packing.REQUESTS_IN_FLIGHT)]
        for _ in first:
            assert sending.arrived.acquire(timeout=30)
        yield call
        sending.lets_through.release(100)
        for future in first:
            assert future.exception(timeout=30) is None or sending.interrupts(["first"])
    assert (coalescer._in_flight, len(coalescer._waiting)) == (0, 0)


def test_each_request_that_ends_gives_its_place_to_another_call() -> None:
    """Also where the thread that got the first of them has not gone on yet."""
    sending, late = Sending(), _item("late", LateItem, model="another")  # else it would take the next one along
    late.goes_on = threading.Event()
    with _full(sending) as call:
        calls = [call(late), call("a")]
        sending.lets_through.release(packing.REQUESTS_IN_FLIGHT)
        assert sending.arrived.acquire(timeout=30)
        assert sending.requests[4:] == [["a"]]
        late.goes_on.set()
        sending.lets_through.release(100)
        for one in calls:
            one.result(timeout=30)
    assert sending.requests[4:] == [["a"], ["late"]]


def test_an_interrupt_of_who_sends_for_others_strands_none_of_them() -> None:
    sending = Sending()
    sending.interrupts = lambda names: "leader" in names
    with _full(sending) as call:
        leader, *others = [call(one) for one in (_leader(), "a", "b", "c")]
        sending.lets_through.release()
        assert sending.arrived.acquire(timeout=30)  # the leader's, with all that gathered
        sending.lets_through.release(100)
        with pytest.raises(KeyboardInterrupt):
            leader.result(timeout=30)
        for other in others:
            other.result(timeout=30)
    assert sending.requests[4] == ["leader", "a", "b", "c"]
    assert sorted(name for names in sending.requests[5:] for name in names) == ["a", "b", "c"]


def test_a_call_that_ended_at_its_deadline_is_not_put_back() -> None:
    sending, expired = Sending(), _item("expired", ExpiredItem)
    sending.interrupts = lambda names: "leader" in names
    expired.goes_on = threading.Event()
    with _full(sending) as call:
        leader, gone, other = call(_leader()), call(expired), call("a")
        sending.lets_through.release()
        assert sending.arrived.acquire(timeout=30)
        expired.goes_on.set()
        gone.result(timeout=30)
        sending.lets_through.release(100)
        with pytest.raises(KeyboardInterrupt):
            leader.result(timeout=30)
        other.result(timeout=30)
    assert sending.requests[4:] == [["leader", "expired", "a"], ["a"]]


def test_a_call_ends_at_its_own_deadline_whoever_it_travels_with() -> None:
    """The server says nothing. Of those that gathered, the one that can wait for longest sends for all."""
    sending, short = Sending(), _item("short", ThreadItem, deadline_ms=200)
    with _full(sending) as call:
        gone, others = call(short), [call("a"), call("b")]
        sending.lets_through.release()
        assert sending.arrived.acquire(timeout=30)
        gone.result(timeout=30)
        assert not any(other.done() for other in others)
        assert short.outcome is None
    assert sending.requests[4:] == [["short", "a", "b"]]


def test_a_call_that_is_interrupted_while_it_waits_gives_its_place_on() -> None:
    sending = Sending()
    with _full(sending) as call:
        interrupted, other = call(_item("interrupted", InterruptedItem, 600_000)), call("a")
        sending.lets_through.release()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(timeout=30)
        sending.lets_through.release(100)
        other.result(timeout=30)
    assert sending.requests[4:] == [["a"]]


def test_a_call_that_is_interrupted_before_its_turn_has_none() -> None:
    """It is not sent, and above all does not get to send for others: nobody would."""
    sending, early = Sending(), _item("early", InterruptedEarlyItem, 600_000)
    early.goes_on = threading.Event()
    with _full(sending) as call:
        interrupted = call(early)
        early.goes_on.set()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(timeout=30)
        other = call("a")
        sending.lets_through.release(100)
        other.result(timeout=30)
    assert sending.requests[4:] == [["a"]]


def test_an_interrupt_of_a_call_that_travels_alone_gives_its_place_on() -> None:
    sending = Sending()
    sending.interrupts = lambda names: names == ["first"]
    with _full(sending) as call:
        others = [call(name) for name in ("a", "b")]
        sending.lets_through.release()
        assert sending.arrived.acquire(timeout=30)
        sending.lets_through.release(100)
        for other in others:
            other.result(timeout=30)
    assert sending.requests[4:] == [["a", "b"]]


@pytest.mark.parametrize("cancelled", [slice(0, 1), slice(1, 30), slice(3, 60, 7)], ids=["the first", "some", "others"])
def test_cancelled_tasks_do_not_take_their_neighbours_along(server: ScriptedServer, cancelled: slice) -> None:
    async def run() -> list[str | BaseException]:
        async with covey.AsyncClient(server.target, coalesce=True) as client:
            calls = [asyncio.create_task(client.classify(b"%d" % number)) for number in range(60)]
            await asyncio.to_thread(server.wait_until_held)
            for call in calls[cancelled]:
                call.cancel()
            server.release()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            return [answer if isinstance(answer, BaseException) else answer.label for answer in answers]

    server.hold()
    found = asyncio.run(run())
    expected = [str(number) for number in range(60)]
    assert all(isinstance(one, asyncio.CancelledError) for one in found[cancelled])
    gone = range(60)[cancelled]
    assert [one for number, one in enumerate(found) if number not in gone] == [
        one for number, one in enumerate(expected) if number not in gone
    ]


def test_a_task_that_is_cancelled_while_it_waits_is_not_sent(server: ScriptedServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(server.target, coalesce=True) as client:
            places = packing.REQUESTS_IN_FLIGHT + 1  # and the first call, which travels alone
            calls = []
            for place in range(places):
                calls.append(asyncio.create_task(client.classify(b"first")))
                while len(server.requests) <= place:
                    await asyncio.sleep(0.001)
            waiting = [asyncio.create_task(client.classify(b"%d" % number)) for number in range(20)]
            await asyncio.sleep(0)  # all of them have begun
            for call in waiting[::2]:
                call.cancel()
            server.release()
            await asyncio.gather(*calls, *waiting, return_exceptions=True)

    server.hold()
    asyncio.run(run())
    sent = [image for request in server.requests for image in request.encoded.images if image != b"first"]
    assert sent == [b"%d" % number for number in range(1, 20, 2)]
