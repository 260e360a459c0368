"""Callers of one model take turns. Every batch of these models takes `run_ms`, whatever its size."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.fakes import FakeModel, FakeRequest, in_ms, make_request, marks, put, take

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.batching.model_queue import ModelQueue
from covey_server.batching.places import images_before
from covey_server.batching.request import Request
from covey_server.batching.suspects import Suspects
from covey_server.errors import Overloaded


def sizes(batch: Batch) -> dict[str, int]:
    """How many images each caller has in a batch."""
    counts: dict[str, int] = {}
    for part in batch.parts:
        counts[part.request.caller] = counts.get(part.request.caller, 0) + part.stop - part.start
    return counts


def take_all(batcher: Batcher) -> list[Batch]:
    batches = []
    while batcher.waiting_images():
        batches.append(take(batcher))
    return batches


def test_one_image_does_not_wait_for_a_large_request_to_end() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    put(batcher, make_request(model, 0, 200, caller="bulk"), make_request(model, 0, 200, caller="other bulk"))
    for _ in range(5):
        take(batcher)
    put(batcher, make_request(model, 77, caller="one"))
    assert marks(take(batcher))[0] == 77


def test_nor_for_the_many_small_requests_of_one_caller() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    put(batcher, *(make_request(model, mark, caller="flood") for mark in range(200)))
    take(batcher)
    put(batcher, make_request(model, 250, caller="one"))
    assert 250 in marks(take(batcher))


def test_two_large_requests_share_evenly_and_a_lone_one_gets_all() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    put(batcher, make_request(model, 0, 80, caller="a"), make_request(model, 0, 40, caller="b"))
    batches = take_all(batcher)
    assert [list(sizes(batch)) for batch in batches[:10]] == [["a"], ["b"]] * 5
    assert [sizes(batch) for batch in batches[10:]] == [{"a": 8}] * 5


def test_who_has_many_connections_waiting_gets_a_share_for_each() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    put(batcher, make_request(model, 0, 100, caller="bulk"))
    put(batcher, *(make_request(model, mark, 2, caller=f"small {mark}") for mark in range(4)))
    assert [sizes(take(batcher)) for _ in range(4)] == [
        {"bulk": 4},
        {"small 0": 2, "small 1": 2},
        {"small 2": 2, "small 3": 2},
        {"bulk": 4},
    ]


def test_a_callers_own_requests_keep_their_order_and_their_callers_rows() -> None:
    batcher, model, chance = Batcher(), FakeModel(best_batch_size=8), random.Random(3)
    requests = [
        make_request(model, chance.randrange(200), chance.randrange(1, 20), caller=chance.choice("abc"))
        for _ in range(60)
    ]
    waiting, begun = list(requests), list[FakeRequest]()
    while waiting or batcher.waiting_images():
        for _ in range(min(len(waiting), chance.randrange(4))):
            batcher.put(waiting.pop(0))
        if batcher.waiting_images():
            begun += [part.request for part in take(batcher).parts if part.start == 0]  # type: ignore[misc]
    assert len(begun) == 60
    for caller in "abc":
        assert [request for request in begun if request.caller == caller] == [
            request for request in requests if request.caller == caller
        ]


def test_what_a_caller_cancels_is_not_held_against_the_rest_of_it() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    other, gone, small = (
        make_request(model, 0, 100, caller="other"),
        make_request(model, 0, 100, caller="a"),
        make_request(model, 200, caller="a"),
    )
    put(batcher, other, gone, small)
    take(batcher)
    gone.cancel()
    assert [sizes(take(batcher)) for _ in range(2)] == [{"other": 8}, {"a": 1, "other": 7}]


def test_the_estimate_for_a_deadline_knows_whose_turn_it_is() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8, run_ms=1_000)
    put(batcher, make_request(model, 0, 200, caller="bulk"), make_request(model, 0, 200, caller="other bulk"))
    take(batcher)
    take(batcher)
    batcher.put(make_request(model, 99, caller="one", deadline_ns=in_ms(6_000)))  # behind all of it: 50 s
    assert marks(take(batcher))[0] == 99
    with pytest.raises(Overloaded, match=r"\(377 images wait before it\)"):
        batcher.put(make_request(model, 99, caller="bulk", deadline_ns=in_ms(6_000)))


def test_a_large_requests_estimate_counts_what_others_get_meanwhile() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=10, run_ms=1_000)
    put(batcher, make_request(model, 0, 1000, caller="bulk"))
    with pytest.raises(Overloaded, match=r"\(100 images wait before it\)"):
        batcher.put(make_request(model, 0, 100, caller="other", deadline_ns=in_ms(15_000)))


def test_a_short_deadline_goes_before_other_callers_who_have_more_time() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=10_000)
    put(batcher, *(make_request(model, mark, deadline_ns=in_ms(10_000_000), caller=str(mark)) for mark in range(6)))
    put(batcher, make_request(model, 10, deadline_ns=in_ms(20_000), caller="urgent"))
    assert [marks(take(batcher)) for _ in range(4)] == [[10, 0], [1, 2], [3, 4], [5]]


def test_a_short_deadline_is_no_way_to_get_more_than_a_share() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=10_000)
    put(batcher, *(make_request(model, mark, caller=str(mark)) for mark in range(40)))
    let_in = 0
    with contextlib.suppress(Overloaded):
        while let_in < 40:  # by their deadlines alone a dozen would be
            batcher.put(make_request(model, 50, deadline_ns=in_ms(100_000), caller="urgent"))
            let_in += 1
    assert 1 <= let_in <= 4
    with pytest.raises(Overloaded):  # more than a batch never passes others
        batcher.put(make_request(model, 60, 4, deadline_ns=in_ms(100_000), caller="greedy"))


def test_nothing_is_kept_of_callers_who_are_gone() -> None:
    queue = ModelQueue(model := FakeModel(best_batch_size=4), Suspects())
    queue.append(make_request(model, 0, 100_000, caller="bulk"))
    for number in range(5_000):
        queue.append(make_request(model, caller=str(number)))
        queue.form(0, "idle", [])
    assert len(queue._turns) <= 200


@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 5), st.integers(1, 40), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60
    ),
    best=st.integers(1, 16),
)
def test_nobody_with_something_waiting_falls_behind_anybody_else(
    arrivals: list[tuple[int, int, bool, int]], best: int
) -> None:
    """While two callers wait all the time, what they got differs by at most two batches and their largest request:
    the bound of start-time fair queueing."""
    batcher, model = Batcher(), FakeModel(best)
    steady = [make_request(model, 0, 4000, caller="x"), make_request(model, 0, 4000, caller="y")]
    put(batcher, *steady)
    got = {"x": 0, "y": 0}
    for caller, count, cancels, rounds in arrivals:
        request = make_request(model, 0, count, caller=str(caller))
        batcher.put(request)
        if cancels:
            request.cancel()
        for _ in range(rounds):
            batch = take(batcher)
            for name, images in sizes(batch).items():
                if name in got:
                    got[name] += images
            assert abs(got["x"] - got["y"]) <= 2 * best


@given(st.lists(st.sampled_from("abc"), max_size=40), st.sampled_from("abcd"))
def test_single_images_that_leave_before_a_request_are_counted_without_a_look_at_each(
    callers: list[str], caller: str
) -> None:
    class NotWalked(list[Request]):
        def __iter__(self) -> Iterator[Request]:
            raise AssertionError("each refused request would take as long as the queue is")

    model = FakeModel(best_batch_size=4)
    queue = ModelQueue(model, Suspects())
    for other in callers:
        queue.append(make_request(model, caller=other))
    request = make_request(model, caller=caller)
    queue.requests = NotWalked(queue.requests)
    before = images_before(queue, request)
    queue.requests = list(queue.requests[:])
    queue.append(request)
    # What leaves with the very next batch has no order.
    assert before == queue.requests.index(request) or queue.images <= model.cost.best_batch_size


def test_each_request_of_a_suspect_counts_as_a_batch() -> None:
    """It runs apart, which costs the others a batch: they go on before its next ones."""
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    batcher.suspect(["suspect"])
    for place in range(12):
        if place < 8:
            put(batcher, make_request(model, 100 + place, caller="suspect"))
        put(batcher, make_request(model, place, caller="other"))
    firsts = [marks(batch)[0] for batch in take_all(batcher)]
    assert firsts == [100, 0, 4, 8, 104]
