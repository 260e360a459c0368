"""classify_stream, of both clients: ids, bounds, what fails one image and what fails all, streams that break."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import covey
from covey import streaming
from covey.connection import Deadline
from covey.inputs import EncodedPart
from covey.messages import ClassifyOptions
from covey.packing import Room
from covey.streaming import StreamItem
from covey.testing import FakeServer
from covey_proto.v1 import classifier_pb2 as pb

from .conftest import fake_server

Pairs = list[tuple[Any, covey.Classification]]
Stream = Callable[..., Pairs]


def _label(image: bytes) -> str:
    if image.startswith(b"bad"):
        raise ValueError("no image")
    return image.decode() if len(image) < 100 else f"pixel {image[0]}"


@pytest.fixture
def fake(transport: str) -> Iterator[FakeServer]:
    with fake_server(transport, answer=_label) as server:
        yield server


@pytest.fixture(params=["Client", "AsyncClient"])
def stream(request: pytest.FixtureRequest, fake: FakeServer) -> Stream:
    """classify_stream of one of the clients, read to its end."""

    def sync(items: Iterable[tuple[Any, Any]], retries: int = 4, **asked: Any) -> Pairs:
        with covey.Client(fake.target, retries=retries) as client:
            return list(client.classify_stream(items, **asked))

    def awaited(items: Iterable[tuple[Any, Any]], retries: int = 4, **asked: Any) -> Pairs:
        async def run() -> Pairs:
            async with covey.AsyncClient(fake.target, retries=retries) as client:
                return [pair async for pair in client.classify_stream(items, **asked)]

        return asyncio.run(run())

    return sync if request.param == "Client" else awaited


def _names(count: int) -> Iterator[tuple[int, bytes]]:
    return ((number, b"%d" % number) for number in range(count))


def _check(pairs: Pairs, count: int) -> None:
    """Each id once, with its own answer."""
    assert sorted(key for key, _ in pairs) == list(range(count))
    assert all(found.label == str(key) for key, found in pairs)


def test_every_id_gets_its_own_answer_in_far_fewer_requests(stream: Stream, fake: FakeServer) -> None:
    _check(stream(_names(3_000)), 3_000)
    assert fake.requests < 1_000


def test_files_arrays_and_what_fails_alone_keep_their_ids(stream: Stream, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    missing = tmp_path / "missing.png"
    given = [("file", tmp_path / "cat.jpg"), (("bad",), b"bad"), (7, np.full((28, 28), 7, np.uint8))]
    given += [(missing, missing), (None, 5)]
    found = dict(stream(given))
    assert len(found) == 5
    assert (found["file"].label, found[7].label) == ("cat", "pixel 7")
    assert isinstance(found["bad",].error, covey.InvalidImage)
    assert isinstance(found[missing].error, covey.MissingFile)
    assert isinstance(found[None].error, covey.UnsupportedInput)


def test_nothing_in_nothing_out(stream: Stream, fake: FakeServer) -> None:
    assert stream([]) == []
    assert fake.requests == 0


@pytest.mark.parametrize(
    ("items", "asked", "text"),
    [
        (b"cat", {}, r"classify_stream takes an iterable of \(id, image\), not a bytes"),
        (7, {}, r"classify_stream takes an iterable of \(id, image\), not a int"),
        ([], {"in_flight": 0}, "in_flight must be a whole number of images above 0, not 0"),
        ([], {"deadline_ms": -1}, "deadline_ms must be a number of milliseconds above 0, not -1"),
        ([], {"top_k": "three"}, "top_k 'three' cannot be sent"),
    ],
)
def test_what_cannot_be_is_refused_at_once(fake: FakeServer, items: object, asked: dict[str, Any], text: str) -> None:
    with covey.Client(fake.target) as client, pytest.raises(covey.InvalidInput, match=text):
        client.classify_stream(items, **asked)  # type: ignore[arg-type]


def test_what_is_no_pair_is_refused_in_its_place(stream: Stream) -> None:
    with pytest.raises(covey.InvalidInput, match=r"takes tuples \(id, image\), not a bytes; see enumerate"):
        stream([(1, b"cat"), b"dog"])


@pytest.mark.parametrize("pair", [[1, b"cat"], (1, b"cat", b"dog"), (1,), "ab"])
def test_only_tuples_of_two_are_pairs(stream: Stream, pair: Any) -> None:  # noqa: ANN401 - what it is not
    with pytest.raises(covey.InvalidInput, match=r"takes tuples \(id, image\), not a"):
        stream([pair])


def test_what_the_iterable_raises_comes_through(stream: Stream) -> None:
    def items() -> Iterator[tuple[int, bytes]]:
        yield 1, b"cat"
        raise KeyError("the camera")

    with pytest.raises(KeyError, match="the camera"):
        stream(items())


def test_a_request_that_fails_is_raised(stream: Stream, fake: FakeServer) -> None:
    fake.fail("NOT_FOUND", "no such model", times=1_000)
    with pytest.raises(covey.UnknownModel, match="no such model"):
        stream(_names(100))


def test_of_images_that_travel_together_only_the_one_at_fault_is_told(stream: Stream) -> None:
    right, wrong = np.zeros((28, 28), np.uint8), np.zeros((14, 14), np.uint8)
    with pytest.raises(covey.InvalidRequest, match="196 bytes of pixels; images have 784 each"):
        stream([*((n, right) for n in range(50)), *((n, wrong) for n in range(3))])


@pytest.mark.parametrize(("status", "hint"), [("UNAVAILABLE", None), ("RESOURCE_EXHAUSTED", 5)])
def test_what_a_broken_stream_did_not_answer_is_sent_again(
    stream: Stream, fake: FakeServer, status: str, hint: int | None
) -> None:
    fake.fail(status, "not now", times=3, retry_after_ms=hint)
    _check(stream(_names(500)), 500)


def test_only_what_may_help_is_tried_again(stream: Stream, fake: FakeServer) -> None:
    fake.fail("RESOURCE_EXHAUSTED", "full", times=1)
    with pytest.raises(covey.Overloaded, match=r"takes no more: full$"):
        stream(_names(10))
    fake.fail("UNAVAILABLE", "gone", times=1)
    with pytest.raises(covey.Unavailable, match="gone"):
        stream(_names(10), retries=0)
    fake.stop()
    with pytest.raises(covey.Unavailable, match="tried 3 times"):
        stream(_names(10), retries=2)


def test_a_deadline_that_the_server_tells_of_is_that_of_the_call(stream: Stream, fake: FakeServer) -> None:
    fake.fail("DEADLINE_EXCEEDED", "late", times=9)
    with pytest.raises(covey.DeadlineExceeded, match=r"no answer from .*127\.0\.0\.1:\d+ within 9000 ms; .* \(late\)"):
        stream(_names(10), deadline_ms=9_000)


def test_an_answer_that_does_not_come_in_time_is_told(stream: Stream, fake: FakeServer) -> None:
    never = threading.Event()
    fake._answer = lambda image: str(never.wait(60))
    with pytest.raises(covey.DeadlineExceeded, match=r"no answer from .*127\.0\.0\.1:\d+ within 250 ms"):
        stream(_names(10), deadline_ms=250)
    never.set()


@pytest.mark.parametrize("in_flight", [1, 5, 300])
def test_no_more_is_taken_from_an_endless_iterable_than_in_flight(fake: FakeServer, in_flight: int) -> None:
    taken = 0

    def items() -> Iterator[tuple[int, bytes]]:
        nonlocal taken
        for number in itertools.count():
            taken = number + 1
            yield number, b"%d" % number

    with covey.Client(fake.target) as client:
        answers = client.classify_stream(items(), in_flight=in_flight)
        for number, (key, found) in enumerate(itertools.islice(answers, 1_000)):
            assert found.label == str(key)
            assert taken <= number + 1 + in_flight
        answers.close()  # type: ignore[attr-defined]


def test_an_answer_does_not_wait_for_the_next_image(fake: FakeServer) -> None:
    """As from a camera: the second image only comes once the first is answered."""
    answered = threading.Event()

    def camera() -> Iterator[tuple[str, bytes]]:
        yield "first", b"cat"
        assert answered.wait(30)
        yield "second", b"dog"

    keys = []
    with covey.Client(fake.target) as client:
        for key, _ in client.classify_stream(camera()):
            keys.append(key)
            answered.set()
    assert keys == ["first", "second"]


def test_an_answer_does_not_wait_for_the_next_image_asyncio(fake: FakeServer) -> None:
    async def run() -> list[str]:
        answered = asyncio.Event()

        async def camera() -> AsyncIterator[tuple[str, bytes]]:
            yield "first", b"cat"
            await answered.wait()
            yield "second", b"dog"

        keys = []
        async with covey.AsyncClient(fake.target) as client:
            async for key, _ in client.classify_stream(camera()):
                keys.append(key)
                answered.set()
        return keys

    assert asyncio.run(run()) == ["first", "second"]


def test_leaving_early_ends_the_threads(fake: FakeServer) -> None:
    with covey.Client(fake.target) as client:
        answers = client.classify_stream(zip(itertools.count(), itertools.repeat(b"cat")))
        assert next(answers)[1].label == "cat"
        mine = [thread for thread in threading.enumerate() if thread.name == "covey-classify-stream"]
        assert len(mine) == 2
        answers.close()  # type: ignore[attr-defined]
        for thread in mine:
            thread.join(timeout=30)
            assert not thread.is_alive()


def test_leaving_early_ends_the_tasks(fake: FakeServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(fake.target) as client:
            answers = client.classify_stream(zip(itertools.count(), itertools.repeat(b"cat")))
            assert (await anext(answers))[1].label == "cat"
            await answers.aclose()  # type: ignore[attr-defined]
            async with asyncio.timeout(10):
                while asyncio.all_tasks() != {asyncio.current_task()}:
                    await asyncio.sleep(0)

    asyncio.run(run())


def test_a_client_that_is_closed_says_so(fake: FakeServer) -> None:
    client = covey.Client(fake.target)
    answers = client.classify_stream(zip(itertools.count(), itertools.repeat(b"cat")))
    next(answers)
    client.close()
    with pytest.raises(covey.ClientClosed, match="closed"):
        list(answers)
    with pytest.raises(covey.ClientClosed, match="closed"):
        list(client.classify_stream(_names(3)))


def test_a_client_that_is_closed_says_so_asyncio(fake: FakeServer) -> None:
    async def run() -> None:
        client = covey.AsyncClient(fake.target)
        answers = client.classify_stream(zip(itertools.count(), itertools.repeat(b"cat")))
        await anext(answers)
        await client.close()
        with pytest.raises(covey.ClientClosed, match="closed"):
            async for _ in answers:
                pass
        with pytest.raises(covey.ClientClosed, match="closed"):
            await anext(client.classify_stream(_names(3)))

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_stream_that_ends_too_early_is_a_broken_one(kind: str) -> None:
    """As a proxy may end it: in good order, and without an answer."""
    streams = 0

    def end_at_once(requests: object, context: grpc.ServicerContext) -> Iterator[bytes]:
        nonlocal streams
        streams += 1
        return iter(())

    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "ClassifyStream": grpc.stream_stream_rpc_method_handler(end_at_once)
    }
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("covey.v1.Classifier", methods),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def ask_awaiting() -> None:
        async with covey.AsyncClient(target, retries=2) as client:
            await anext(client.classify_stream(_names(3)))

    def ask() -> None:
        with covey.Client(target, retries=2) as client:
            next(client.classify_stream(_names(3)))

    with pytest.raises(covey.Unavailable, match=r"the stream (ended before|broke off).*\(tried 3 times\)$"):
        asyncio.run(ask_awaiting()) if kind == "AsyncClient" else ask()
    assert streams == 3
    server.stop(grace=None).wait()


def test_a_request_of_a_stream_says_how_long_its_answer_may_take() -> None:
    item = StreamItem("key", EncodedPart((0,), ("",), (b"x",)), ClassifyOptions())
    message = streaming.Element("1", [item], Deadline(500_000)).message()
    assert 400e6 < message.deadline_us <= 500e6


def test_what_is_sent_again_image_by_image_has_its_whole_deadline() -> None:
    begun: list[Deadline] = []

    def begin() -> Deadline:
        begun.append(Deadline(1_000))
        return begun[-1]

    exchange = streaming.Exchange(Room(10), begin, lambda: None)
    for key in range(3):
        exchange.put(StreamItem(key, EncodedPart((0,), ("",), (b"x",)), ClassifyOptions()))
    refused = pb.StreamError(code="INVALID_ARGUMENT", message="one of them")
    exchange.answer(pb.ClassifyStreamResponse(id=exchange.take_element().name, error=refused), "here")
    before = len(begun)
    for alone in range(3):
        assert not exchange.finished
        element = exchange.take_element()
        assert element.deadline is begun[before + alone]
        assert len(element.items) == 1
    assert not exchange.has_element


def test_answers_to_nothing_are_an_error_of_the_server() -> None:
    exchange = streaming.Exchange(Room(1), lambda: Deadline(1_000), lambda: None)
    message = pb.ClassifyStreamResponse(id="9")
    with pytest.raises(covey.ServerError, match="at here answered '9', which was not asked"):
        exchange.answer(message, "here")
