"""classify_many, of both clients: order, bounds, what fails one image and what fails all."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

import covey
from covey import packing
from covey.inputs import PixelsPart
from covey.messages import ClassifyOptions
from covey.packing import Item, Waiting, Window
from covey.testing import FakeServer

if TYPE_CHECKING:
    from covey.inputs import Image

    from .conftest import ScriptedServer

Many = Callable[..., list[covey.Classification]]


@pytest.fixture(params=["Client", "AsyncClient"])
def many(request: pytest.FixtureRequest, server: ScriptedServer) -> Many:
    """classify_many of one of the clients, read to its end."""

    def sync(images: Iterable[Image], **asked: Any) -> list[covey.Classification]:
        with covey.Client(server.target) as client:
            return list(client.classify_many(images, **asked))

    def awaited(images: Iterable[Image], **asked: Any) -> list[covey.Classification]:
        async def run() -> list[covey.Classification]:
            async with covey.AsyncClient(server.target) as client:
                return [answer async for answer in client.classify_many(images, **asked)]

        return asyncio.run(run())

    return sync if request.param == "Client" else awaited


def test_answers_come_in_order_in_far_fewer_requests(many: Many, server: ScriptedServer) -> None:
    names = [str(number) for number in range(3_000)]
    assert [answer.label for answer in many(name.encode() for name in names)] == names
    assert len(server.requests) < 1_000
    assert max(len(request.encoded.images) for request in server.requests) <= packing.MAX_IMAGES


def test_files_arrays_and_what_fails_alone_keep_their_places(many: Many, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    given = [tmp_path / "cat.jpg", b"bad", np.full((2, 2), 7, np.uint8), tmp_path / "missing.png", 5, b"dog"] * 20
    answers = many(given)
    assert len(answers) == 120
    for cat, bad, seven, missing, five, dog in _sixes(answers):
        assert (cat.label, seven.label, dog.label) == ("cat", "7", "dog")
        assert isinstance(bad.error, covey.InvalidImage)
        assert isinstance(missing.error, covey.MissingFile)
        assert isinstance(five.error, covey.UnsupportedInput)
        with pytest.raises(covey.MissingFile, match=r"missing\.png"):
            _ = missing.label


def _sixes(answers: list[covey.Classification]) -> Iterable[list[covey.Classification]]:
    return [answers[start : start + 6] for start in range(0, len(answers), 6)]


def test_what_is_asked_reaches_the_server(many: Many, server: ScriptedServer) -> None:
    many([b"c" * 100_000], model="other", version=5, top_k=3)  # large: judged where the model is known
    (request,) = server.requests
    assert (request.model, request.version, request.top_k) == ("other", 5, 3)


def test_nothing_in_nothing_out(many: Many, server: ScriptedServer) -> None:
    assert many([]) == []
    assert server.requests == []


def test_a_call_that_fails_is_raised_in_its_place(many: Many, server: ScriptedServer) -> None:
    server.fail(grpc.StatusCode.NOT_FOUND, "no such model")
    with pytest.raises(covey.UnknownModel, match="no such model"):
        many([b"cat"] * 10)


def test_what_the_iterable_raises_comes_through(many: Many) -> None:
    def images() -> Iterator[bytes]:
        yield b"cat"
        raise KeyError("the camera")

    with pytest.raises(KeyError, match="the camera"):
        many(images())


@pytest.mark.parametrize("given", ["cat.jpg", b"cat", 7])
def test_a_single_image_is_refused(client: covey.Client, given: bytes) -> None:
    with pytest.raises(covey.InvalidInput, match=f"an iterable of images, not a {type(given).__name__}; use classify"):
        client.classify_many(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("in_flight", [0, -1, 1.5, True])
def test_in_flight_is_a_number_of_images(client: covey.Client, in_flight: int) -> None:
    with pytest.raises(covey.InvalidInput, match="in_flight must be a whole number of images above 0"):
        client.classify_many([b"cat"], in_flight=in_flight)


class Counting:
    """An endless iterable of images, of either kind, that counts what was taken of it."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self.taken += 1
            yield b"%d" % (self.taken - 1)

    async def awaited(self) -> AsyncIterator[bytes]:
        for image in self:
            yield image


@pytest.mark.parametrize("in_flight", [1, 5])
def test_no_more_is_taken_from_an_endless_iterable_than_in_flight(client: covey.Client, in_flight: int) -> None:
    images = Counting()
    answers = client.classify_many(images, in_flight=in_flight)
    for number in range(50):
        assert next(answers).label == str(number)
        assert images.taken <= number + 1 + in_flight
    answers.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("plain", [True, False], ids=["iterable", "async iterable"])
@pytest.mark.parametrize("in_flight", [1, 5])
def test_no_more_is_taken_by_tasks_than_in_flight(server: ScriptedServer, in_flight: int, plain: bool) -> None:
    async def run() -> None:
        images = Counting()
        async with covey.AsyncClient(server.target) as client:
            answers = client.classify_many(images if plain else images.awaited(), in_flight=in_flight)
            for number in range(50):
                assert (await anext(answers)).label == str(number)
                assert images.taken <= number + 1 + in_flight
            await answers.aclose()  # type: ignore[attr-defined]

    asyncio.run(run())


IMAGES, IN_FLIGHT, LOOKS = 5_000, 64, 10


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
def test_a_long_run_holds_no_more_images_than_in_flight(kind: str) -> None:
    """Counted among all objects of the process: whatever is on its way, wherever it is kept."""
    images, held = Counting(), []
    gc.collect()
    of_others = _items_alive()

    def look(read: int) -> None:
        if read % (IMAGES // LOOKS) == 0:
            held.append(_items_alive() - of_others)
            assert images.taken - read <= IN_FLIGHT

    def read_all(target: str) -> None:
        with covey.Client(target) as client:
            answers = client.classify_many(itertools.islice(images, IMAGES), in_flight=IN_FLIGHT)
            for number, answer in enumerate(answers):
                assert answer.label == str(number)
                look(number + 1)

    async def read_all_awaited(target: str) -> None:
        async with covey.AsyncClient(target) as client:
            answers = client.classify_many(itertools.islice(images, IMAGES), in_flight=IN_FLIGHT)
            number = 0
            async for answer in answers:
                assert answer.label == str(number)
                number += 1
                look(number)

    with FakeServer(answer=bytes.decode) as fake:
        if kind == "Client":
            read_all(fake.target)
        else:
            asyncio.run(read_all_awaited(fake.target))
    assert images.taken == IMAGES
    assert len(held) == LOOKS
    assert 0 < max(held) <= IN_FLIGHT


def _items_alive() -> int:
    # By type: isinstance() asks some objects of other libraries for their class, and they answer with warnings.
    return sum(issubclass(type(one), Item) for one in gc.get_objects())


def test_the_first_answer_does_not_wait_for_a_slow_iterable(server: ScriptedServer) -> None:
    """As from a camera: the second image only comes once the first is answered."""

    async def run() -> list[str]:
        first_is_answered = asyncio.Event()

        async def camera() -> AsyncIterator[bytes]:
            yield b"first"
            await first_is_answered.wait()
            yield b"second"

        labels = []
        async with covey.AsyncClient(server.target) as client:
            async for answer in client.classify_many(camera()):
                labels.append(answer.label)
                first_is_answered.set()
        return labels

    assert asyncio.run(run()) == ["first", "second"]


def test_leaving_early_ends_the_threads(client: covey.Client) -> None:
    answers = client.classify_many(itertools.repeat(b"cat"))
    assert next(answers).label == "cat"
    mine = [thread for thread in threading.enumerate() if thread.name == "covey-classify-many"]
    assert mine
    answers.close()  # type: ignore[attr-defined]
    for thread in mine:
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_leaving_early_ends_the_tasks(server: ScriptedServer) -> None:
    async def run() -> None:
        async with covey.AsyncClient(server.target) as client:
            answers = client.classify_many(itertools.repeat(b"cat"))
            assert (await anext(answers)).label == "cat"
            await answers.aclose()  # type: ignore[attr-defined]
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def _item(nbytes: int, side: int = 1) -> Item:
    return Item(PixelsPart((0,), bytes(nbytes), side, side, 1), ClassifyOptions())


def test_what_waits_goes_together_by_kind_number_and_bytes() -> None:
    waiting: Waiting[Item] = Waiting()
    for item in [_item(1, 1)] * 200 + [_item(4, 2)] * 2 + [_item(packing.MAX_BYTES, 3), _item(9, 3)]:
        waiting.put(item)
    taken = [len(waiting.take()) for _ in range(6)]
    assert taken == [packing.MAX_IMAGES, 200 - packing.MAX_IMAGES, 2, 1, 1, 0]


@pytest.mark.parametrize(("in_flight", "sizes"), [(2, (1, 1)), (100, (1, packing.MAX_WAITING_BYTES))])
def test_a_window_is_full_by_number_or_by_bytes(in_flight: int, sizes: tuple[int, int]) -> None:
    window: Window[Item] = Window(in_flight)
    states = [window.full]
    for size in sizes:
        window.put(_item(size))
        states.append(window.full)
    window.pop()
    window.pop()
    assert [*states, window.full] == [False, False, True, False]
