"""The forming of batches, told step by step: no threads, no clocks, no sleeps."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from tests.server.fakes import FakeModel, make_request

from covey_server.batching.batcher import Batch, Batcher
from covey_server.errors import Cancelled, Expired, Stopping


def take(batcher: Batcher) -> Batch:
    batch = batcher.take()
    assert batch is not None
    return batch


def marks(batch: Batch) -> list[int]:
    """The first pixel of each image."""
    return [int(mark) for mark in batch.images()[:, 0, 0, 0]]


def test_takes_what_waits_up_to_the_largest_batch() -> None:
    batcher, model = Batcher(), FakeModel(max_batch_size=8)
    for mark in range(11):
        batcher.put(make_request(model, mark))
    first, second = take(batcher), take(batcher)
    assert [marks(first), marks(second)] == [list(range(8)), [8, 9, 10]]


def test_fills_a_batch_by_splitting_a_request() -> None:
    batcher, model = Batcher(), FakeModel(max_batch_size=4)
    for mark, count in ((0, 3), (10, 6), (20, 1)):
        batcher.put(make_request(model, mark, count))
    batches = [marks(take(batcher)) for _ in range(3)]
    assert batches == [[0, 1, 2, 10], [11, 12, 13, 14], [15, 20]]


def test_the_model_that_waited_longest_for_a_batch_is_next() -> None:
    batcher, busy, quiet = Batcher(), FakeModel(max_batch_size=2), FakeModel()
    for mark in range(4):
        batcher.put(make_request(busy, mark))
    batcher.put(make_request(quiet))
    batcher.put(make_request(busy, 5))
    assert [take(batcher).model for _ in range(4)] == [busy, quiet, busy, busy]


def test_a_large_request_starves_no_other_model() -> None:
    batcher, busy, quiet = Batcher(), FakeModel(max_batch_size=2), FakeModel()
    batcher.put(make_request(busy, count=100))
    take(batcher)
    batcher.put(make_request(quiet))
    assert [take(batcher).model for _ in range(3)] == [busy, quiet, busy]


def test_expired_and_cancelled_requests_cost_no_place() -> None:
    batcher, model = Batcher(), FakeModel(max_batch_size=2)
    expired = make_request(model, 0, deadline_ns=time.monotonic_ns() - 1)
    cancelled = make_request(model, 1)
    alive = [make_request(model, mark, deadline_ns=time.monotonic_ns() + 10**12) for mark in (2, 3)]
    for request in (expired, cancelled, *alive):
        batcher.put(request)
    cancelled.cancel()
    assert marks(take(batcher)) == [2, 3]
    assert isinstance(expired.error, Expired)
    assert isinstance(cancelled.error, Cancelled)
    assert alive[0].error is None


def test_a_batch_of_nothing_but_dropped_requests_is_passed_over() -> None:
    batcher, model = Batcher(), FakeModel()
    gone = make_request(model)
    gone.cancel()
    batcher.put(gone)
    batcher.close()
    assert batcher.take() is None
    assert isinstance(gone.error, Cancelled)


def test_the_rest_of_a_split_request_is_dropped_once_nobody_waits_for_it() -> None:
    batcher, model = Batcher(), FakeModel(max_batch_size=4)
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
    batcher, model = Batcher(), FakeModel(max_batch_size=4)
    batcher.put(make_request(model, 0, 6))
    assert batcher.waiting_images() == {model: 6}
    take(batcher)
    assert batcher.waiting_images() == {model: 2}
    take(batcher)
    assert batcher.waiting_images() == {}


def test_knows_neither_grpc_nor_onnxruntime_nor_metrics() -> None:
    code = (
        "import sys, covey_server.batching.batcher, covey_server.batching.admission;"
        "strangers = {'grpc', 'onnxruntime', 'prometheus_client', 'google.protobuf'};"
        "print(sorted(strangers & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
