"""The forming of batches, told step by step: no threads, no clocks, no sleeps."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.fakes import MS, FakeModel, in_ms, make_request, marks, put, take

from covey_server.batching.batch import Batch
from covey_server.batching.batcher import Batcher
from covey_server.errors import Cancelled, Expired, Stopping


def test_takes_what_waits_up_to_the_largest_batch() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    for mark in range(11):
        batcher.put(make_request(model, mark))
    first, second = take(batcher), take(batcher)
    assert [marks(first), marks(second)] == [list(range(8)), [8, 9, 10]]


def test_fills_a_batch_by_splitting_a_request() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    for mark, count in ((0, 3), (10, 6), (20, 1)):
        batcher.put(make_request(model, mark, count))
    batches = [marks(take(batcher)) for _ in range(3)]
    assert batches == [[0, 1, 2, 10], [11, 12, 13, 14], [15, 20]]


def test_the_model_that_waited_longest_for_a_batch_is_next() -> None:
    batcher, busy, quiet = Batcher(), FakeModel(best_batch_size=2), FakeModel()
    for mark in range(4):
        batcher.put(make_request(busy, mark))
    batcher.put(make_request(quiet))
    batcher.put(make_request(busy, 5))
    assert [take(batcher).model for _ in range(4)] == [busy, quiet, busy, busy]


def test_a_large_request_starves_no_other_model() -> None:
    batcher, busy, quiet = Batcher(), FakeModel(best_batch_size=2), FakeModel()
    batcher.put(make_request(busy, count=100))
    take(batcher)
    batcher.put(make_request(quiet))
    assert [take(batcher).model for _ in range(3)] == [busy, quiet, busy]


def test_expired_and_cancelled_requests_cost_no_place() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2)
    expired = make_request(model, 0, deadline_ns=in_ms(10_000))
    cancelled = make_request(model, 1)
    alive = [make_request(model, mark, deadline_ns=in_ms(10**6)) for mark in (2, 3)]
    for request in (expired, cancelled, *alive):
        batcher.put(request)
    cancelled.cancel()
    expired.deadline_ns = in_ms(-1)
    assert marks(take(batcher)) == [2, 3]
    assert isinstance(expired.error, Expired)
    assert isinstance(cancelled.error, Cancelled)
    assert alive[0].error is None


def test_a_request_that_is_dropped_makes_no_batch_smaller() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8)
    first, cancelled, expired, last = (make_request(model, mark, deadline_ns=in_ms(10_000)) for mark in range(4))
    put(batcher, first, cancelled, expired, last)
    cancelled.cancel()
    expired.deadline_ns = in_ms(-1)
    assert marks(take(batcher)) == [0, 3]


def test_a_batch_of_nothing_but_dropped_requests_is_passed_over() -> None:
    batcher, model = Batcher(), FakeModel()
    gone = make_request(model)
    gone.cancel()
    batcher.put(gone)
    batcher.close()
    assert batcher.take() is None
    assert isinstance(gone.error, Cancelled)


def test_the_rest_of_a_split_request_is_dropped_once_nobody_waits_for_it() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    left, failed, alive = (make_request(model, mark, count) for mark, count in ((0, 9), (20, 9), (40, 1)))
    for request in (left, failed):
        batcher.put(request)
    take(batcher)
    left.cancel()
    first_part = take(batcher)
    assert isinstance(left.error, Cancelled)
    assert marks(first_part) == [20, 21, 22, 23]
    assert first_part.fail() == [failed]
    batcher.put(alive)
    assert marks(take(batcher)) == [40]
    assert batcher.waiting_images() == {}


def test_close_gives_out_what_waits_and_takes_nothing_new() -> None:
    batcher, model = Batcher(), FakeModel()
    batcher.put(make_request(model, 7))
    batcher.close()
    with pytest.raises(Stopping):
        batcher.put(make_request(model))
    assert take(batcher).size == 1
    assert batcher.take() is None


def test_says_how_many_images_wait() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=4)
    batcher.put(make_request(model, 0, 6))
    assert batcher.waiting_images() == {model: 6}
    take(batcher)
    assert batcher.waiting_images() == {model: 2}
    take(batcher)
    assert batcher.waiting_images() == {}


@given(waiting=st.integers(1, 100), best=st.integers(1, 40), sizes=st.lists(st.integers(1, 9), max_size=100))
def test_the_next_batch_is_what_waits_or_the_best_size(waiting: int, best: int, sizes: list[int]) -> None:
    batcher, model = Batcher(), FakeModel(best)
    counts = [*sizes, *[1] * waiting]
    put(batcher, *(make_request(model, place, count) for place, count in enumerate(counts)))
    left = sum(counts)
    order: list[int] = []
    while left:
        batch = take(batcher)
        assert batch.size == min(left, best) == len(batch.images())
        assert batch.reason == ("full" if batch.size == best else "gathered")
        left -= batch.size
        order += [int(part.request.rows[0]) for part in batch.parts if part.start == 0]
    assert order == sorted(order)  # of arrival
    assert batcher.waiting_images() == {}


# Inline: what is quickly computed is run by the thread that brought it.


def test_a_short_batch_is_for_the_thread_that_brought_it() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=2, run_ms=1)
    put(batcher, *(make_request(model, mark) for mark in range(5)))
    first = batcher.take_short(1.5 * MS)
    assert first is not None
    assert (marks(first), first.reason) == ([0, 1], "full")
    assert batcher.take_short(0.5 * MS) is None
    assert batcher.waiting_images() == {model: 3}


def test_while_the_thread_that_brought_more_than_it_has_time_for_runs_a_batch_a_worker_takes_the_rest() -> None:
    batcher, model, other = Batcher(), FakeModel(best_batch_size=2), FakeModel(best_batch_size=8, run_ms=50)
    taken: list[Batch | None] = []
    worker = threading.Thread(target=lambda: taken.append(batcher.take()), daemon=True)
    worker.start()
    while not batcher.idle_workers:
        pass
    put(batcher, make_request(model, 0), make_request(other, 50))
    batch = batcher.take_short(1.5 * MS)  # and no further call: it runs now
    worker.join(10)
    assert batch is not None
    assert [(each.model, each.reason) for each in [batch, *taken] if each] == [(model, "inline"), (other, "idle")]


def test_a_short_model_need_not_wait_behind_a_long_one() -> None:
    batcher, long, short = Batcher(), FakeModel(run_ms=50), FakeModel(run_ms=1)
    put(batcher, make_request(long), make_request(short))
    batch = batcher.take_short(2 * MS)
    assert batch is not None
    assert (batch.model, batch.reason) == (short, "inline")
    assert batcher.take_short(1 * MS) is None


def test_requests_of_a_model_that_a_worker_is_at_gather_however_short_they_are() -> None:
    batcher, model = Batcher(), FakeModel(best_batch_size=8, run_ms=1)
    put(batcher, make_request(model, 0))
    running = take(batcher)
    put(batcher, make_request(model, 1))
    assert batcher.take_short(10 * MS) is None
    batcher.finish(running)
    put(batcher, make_request(model, 2))
    batch = batcher.take_short(10 * MS)
    assert batch is not None
    assert marks(batch) == [1, 2]


def test_dropped_requests_are_no_batch() -> None:
    batcher, model = Batcher(), FakeModel()
    gone = make_request(model)
    batcher.put(gone)
    gone.cancel()
    assert batcher.take_short(10 * MS) is None
    assert isinstance(gone.error, Cancelled)


def test_told_to_wait_for_company_a_batch_leaves_when_full_or_when_its_time_is_up() -> None:
    batcher, model = Batcher(max_delay_ns=10**12), FakeModel(best_batch_size=2)
    put(batcher, make_request(model, 0))
    assert batcher.take_short(10 * MS) is None
    put(batcher, make_request(model, 1))
    batch = batcher.take_short(10 * MS)
    assert batch is not None
    assert (marks(batch), batch.reason) == ([0, 1], "full")

    short = Batcher(max_delay_ns=5 * MS)
    lone = make_request(model, 2)
    put(short, lone)
    batch = take(short)
    assert (marks(batch), batch.reason) == ([2], "delay")
    assert batch.formed_ns - lone.queued_ns >= 5 * MS


def test_told_to_wait_it_still_gives_out_what_waits_when_it_is_closed() -> None:
    batcher, model = Batcher(max_delay_ns=10**12), FakeModel(best_batch_size=2)
    put(batcher, make_request(model, 0))
    batcher.close()
    assert marks(take(batcher)) == [0]
    assert batcher.take() is None


# The reserve: the worker that stands in for the front's core.


def take_in_reserve(batcher: Batcher) -> Batch | None:
    """What a reserve would take now; None where it would wait."""
    return batcher.take(reserve=True) if batcher._next(reserve=True) is not None else None


def test_a_reserve_takes_full_batches_and_models_that_nobody_runs() -> None:
    batcher, busy, other = Batcher(1, reserves=1), FakeModel(best_batch_size=4), FakeModel(best_batch_size=4)
    put(batcher, make_request(busy, 0))
    running = take(batcher)
    put(batcher, make_request(busy, 1, 3))
    assert take_in_reserve(batcher) is None  # less than a batch, and one is running already
    put(batcher, make_request(other, 50))
    reserved = take_in_reserve(batcher)
    assert reserved is not None
    assert reserved.model is other
    put(batcher, make_request(busy, 4))
    reserved = take_in_reserve(batcher)
    assert reserved is not None
    assert marks(reserved) == [1, 2, 3, 4]
    put(batcher, make_request(busy, 5))
    assert take_in_reserve(batcher) is None
    for batch in (running, reserved):
        batcher.finish(batch)
    put(batcher, make_request(other, 51))
    assert marks(take(batcher)) == [5]  # the worker's, who is free again
    assert take_in_reserve(batcher) is None  # two of `other` would run


def test_a_reserve_ends_with_the_others() -> None:
    batcher, model = Batcher(1, reserves=1), FakeModel(best_batch_size=4)
    put(batcher, make_request(model, 0))
    take(batcher)
    put(batcher, make_request(model, 1))
    batcher.close()
    assert take_in_reserve(batcher) is not None
    assert batcher.take(reserve=True) is None


def test_knows_neither_grpc_nor_onnxruntime_nor_metrics() -> None:
    code = (
        "import sys, covey_server.batching.batcher, covey_server.batching.admission;"
        "strangers = {'grpc', 'onnxruntime', 'prometheus_client', 'google.protobuf'};"
        "print(sorted(strangers & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
