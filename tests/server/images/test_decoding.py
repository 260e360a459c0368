"""The decode pool: what it keeps, what it drops, when it ends early."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from tests.server.fakes import finish

from covey_server.errors import Cancelled, InvalidImage, Stopping
from covey_server.images import decode_pool
from covey_server.images.decode_pool import DecodePool, Steps
from covey_server.images.pixels import InputSpec

SPEC = InputSpec(2, 2, 1)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 2), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_good_rows_stay_in_order_and_bad_images_keep_their_places() -> None:
    decoded = finish(DecodePool(1, 100, 1 << 30).decode([png(1), b"x", png(2)], SPEC, check=lambda: None))
    assert decoded.rows == bytes([1] * 4 + [2] * 4)
    assert [type(failure) for failure in decoded.failures] == [type(None), InvalidImage, type(None)]
    assert decoded.count == 2
    assert decoded.pixels == [4, 4]


def test_of_all_or_none_nothing_is_decoded_behind_a_bad_image() -> None:
    decoded = finish(DecodePool(1, 100, 1 << 30).decode([png(1), b"x", png(2)], SPEC, lambda: None, all_or_none=True))
    assert [type(failure) for failure in decoded.failures] == [type(None), InvalidImage]


def test_ends_when_the_pool_is_closed() -> None:
    pool = DecodePool(1, 100, 1 << 30)
    pool.close()
    with pytest.raises(Stopping):
        finish(pool.decode([png(1)] * 1000, SPEC, check=lambda: None))


def test_asks_before_each_image_whether_somebody_still_waits() -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled("gone")

    with pytest.raises(Cancelled):
        finish(DecodePool(1, 100, 1 << 30).decode([png(1)] * 1000, SPEC, check))
    assert asked == 3


class Decoding:
    """The images of one request, decoded by a pool; `done` counts those that are. The first waits for `may_begin`."""

    def __init__(self, pool: DecodePool, images: int) -> None:
        self.done = -1
        self.began, self.may_begin, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._decoding = pool.decode([png(1)] * images, SPEC, self._look)

    def _look(self) -> None:
        self.done += 1
        self.began.set()
        assert self.may_begin.wait(20)

    def steps(self) -> Steps[None]:
        decoded = yield from self._decoding
        self.done = decoded.count
        self.ended.set()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodePool]:
    """One thread in each half, and steps of one image."""
    monkeypatch.setattr(decode_pool, "STEP_NS", -1)
    pool = DecodePool(1, 100, 1 << 30)
    yield pool
    pool.close()


@pytest.mark.parametrize("images", [10, 100])  # for the one half and for the other
def test_callers_take_turns_whatever_one_of_them_has_brought(pool: DecodePool, images: int) -> None:
    many, few = Decoding(pool, images), Decoding(pool, images // 5)
    later = Decoding(pool, images)
    pool.submit(many.steps(), "much", images=images)
    assert many.began.wait(20)
    pool.submit(later.steps(), "much", images=images)
    pool.submit(few.steps(), "little", images=images)
    seen: list[tuple[int, int]] = []
    few.ended.set = lambda: seen.append((many.done, later.done))  # type: ignore[method-assign]
    for each in (few, later, many):
        each.may_begin.set()
    assert many.ended.wait(20)
    assert later.ended.wait(20)
    assert seen[0][0] + max(0, seen[0][1]) <= images // 5 + 1  # one of theirs for each of the other's
    assert (many.done, few.done, later.done) == (images, images // 5, images)


def test_requests_of_one_caller_are_taken_in_their_order(pool: DecodePool) -> None:
    order: list[str] = []
    first = Decoding(pool, 1)

    def note(name: str) -> Steps[None]:
        order.append(name)
        yield from ()

    pool.submit(first.steps(), "a", images=1)
    assert first.began.wait(20)
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        pool.submit(note(name), name[0], images=1)
    last = Decoding(pool, 1)
    pool.submit(last.steps(), "a", images=1)
    last.may_begin.set()
    first.may_begin.set()
    assert last.ended.wait(20)
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


@pytest.mark.parametrize("images", [10, 100])
def test_a_request_is_decoded_before_its_caller_s_next_ones(pool: DecodePool, images: int) -> None:
    """Else many requests of one connection would all be done at the end, and none before its deadline."""
    requests = [Decoding(pool, images) for _ in range(3)]
    done_then: list[list[int]] = []
    for each in requests:
        each.ended.set = lambda: done_then.append([each.done for each in requests])  # type: ignore[method-assign]
    last = Decoding(pool, 1)
    for each in (*requests, last):
        pool.submit(each.steps(), "a", images=images)
    assert requests[0].began.wait(20)
    for each in (*requests, last):
        each.may_begin.set()
    assert last.ended.wait(20)
    assert done_then == [[images, -1, -1], [images, images, -1], [images, images, images]]
