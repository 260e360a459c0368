"""What the caller's iterable raises comes after the answers to the images that it gave before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import covey
from covey import messages
from covey.connection import Deadline
from covey.inputs import EncodedPart
from covey.messages import ClassifyOptions
from covey.packing import Item, Window
from covey.testing import FakeServer
from covey.threads import ThreadStream

COUNT = 200
KINDS = ["many", "stream"]


class _Server:
    """Answers each image by its own name, the first only once the iterable has raised: all are under way by then."""

    def __init__(self) -> None:
        self.raised = threading.Event()
        self._server = FakeServer(answer=self._answer)
        self.target = self._server.target

    def _answer(self, image: bytes) -> str:
        assert self.raised.wait(timeout=30)
        return image.decode()

    def stop(self) -> None:
        self.raised.set()
        self._server.stop()


@pytest.fixture
def held() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.stop()


def _images(server: _Server, error: BaseException, kind: str) -> Iterator[Any]:
    for number in range(COUNT):
        image = b"%d" % number
        yield image if kind == "many" else (number, image)
    server.raised.set()
    raise error


def _labels(answers: list[Any], kind: str) -> list[str]:
    """In the order of the images."""
    if kind == "many":
        return [answer.label for answer in answers]
    return [answer.label for _, answer in sorted(answers, key=lambda pair: pair[0])]


def _begin(client: covey.Client | covey.AsyncClient, kind: str, images: object) -> Any:  # noqa: ANN401
    return (client.classify_many if kind == "many" else client.classify_stream)(images, in_flight=1_024)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_lost(held: _Server, kind: str) -> None:
    answers: list[Any] = []
    with covey.Client(held.target) as client, pytest.raises(OSError, match="the camera"):
        answers.extend(_begin(client, kind, _images(held, OSError("the camera"), kind)))
    assert _labels(answers, kind) == [str(number) for number in range(COUNT)]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["iterable", "async iterable"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_is_lost_by_tasks(held: _Server, kind: str, asynchronous: bool) -> None:
    answers: list[Any] = []

    async def awaited() -> AsyncIterator[Any]:
        for image in _images(held, OSError("the camera"), kind):
            yield image

    async def run() -> None:
        async with covey.AsyncClient(held.target) as client:
            images = awaited() if asynchronous else _images(held, OSError("the camera"), kind)
            async for answer in _begin(client, kind, images):
                answers.append(answer)

    with pytest.raises(OSError, match="the camera"):
        asyncio.run(run())
    assert _labels(answers, kind) == [str(number) for number in range(COUNT)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupt_waits_for_nothing(kind: str) -> None:
    """As Ctrl-C in the midst of the iterable: the last image is answered only after it."""
    interrupted = threading.Event()

    def answer(image: bytes) -> str:
        assert image != b"last" or interrupted.wait(timeout=30)
        return image.decode()

    def images() -> Iterator[Any]:
        yield (0, b"last") if kind == "stream" else b"last"
        raise KeyboardInterrupt

    answers: list[Any] = []
    with FakeServer(answer=answer) as server, covey.Client(server.target) as client:
        with pytest.raises(KeyboardInterrupt):
            answers.extend(_begin(client, kind, images()))
        interrupted.set()
    assert answers == []


def test_an_interrupt_comes_after_what_is_ready() -> None:
    items = [Item(EncodedPart((0,), ("",), (b"cat",)), ClassifyOptions()) for _ in range(COUNT)]
    all_settled = threading.Event()

    def send(sent: list[Item], deadline: Deadline) -> None:
        for item in sent:
            item.settle(messages.not_sent(covey.InvalidInput("no image")))
        if all(item.outcome for item in items):
            all_settled.set()

    def images() -> Iterator[Item]:
        yield from items
        assert all_settled.wait(timeout=30)
        raise KeyboardInterrupt

    answers: list[covey.Classification] = []
    stream = ThreadStream(send, lambda: Deadline(30_000))
    with pytest.raises(KeyboardInterrupt):
        answers.extend(stream.results(images(), Window(COUNT + 1)))
    assert len(answers) == COUNT
